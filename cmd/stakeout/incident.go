package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/triage/command"
)

func newIncidents(g *global) *cobra.Command {
	var f store.IncidentFilter
	var since time.Duration
	return question[command.Incident]{
		use:   "incidents",
		short: "Show findings that belong together",
		long: `Show incidents: the open ones first, then the worst, then the latest. One in which
nothing but suppressed findings are is not open. What is known
of one shows 'stakeout incident ID', also of one that became part of another; 'stakeout close ID' closes it with a verdict.`,
		none: "'stakeout findings' shows what was found, 'stakeout agents' who is still learning",
		head: []string{"ID", "STATE", "SEVERITY", "AGENT", "FINDINGS", "LAST", "THREATS"},
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&f.Agent, "agent", "", "of this agent only")
			cmd.Flags().BoolVar(&f.Open, "open", false, "those only that nobody has closed")
			addSince(cmd, &since, "whose last event is not older than this, such as 24h")
			addMost(cmd, &f.Limit, "limit", 100)
		},
		ask: func(ctx context.Context, s *store.Store) ([]command.Incident, error) {
			f.Since = ago(since)
			return s.Incidents(ctx, f)
		},
		cells: func(i command.Incident) []string {
			return []string{i.ID, state(i), detect.Severity(i.Severity).String(), i.Agent, fmt.Sprint(i.Count), when(i.Last), strings.Join(i.Threats, ", ")}
		},
	}.command(g)
}

func state(i command.Incident) string {
	switch {
	case i.Open:
		return "open"
	case i.Suppressed > 0 && i.Verdict == "" && i.Into == "":
		return "suppressed"
	case i.Into != "":
		return "merged"
	}
	return string(i.Verdict)
}

func newCoverage(g *global) *cobra.Command {
	var days int
	return question[store.Coverage]{
		use:   "coverage",
		short: "Show how many findings were looked at before a person saw them",
		long: `Show by day of the event how many findings have a disposition: the first look that
triage takes at each of them. It must read 100 %.`,
		head:  []string{"DAY", "FINDINGS", "DISPOSED", "SHARE"},
		flags: func(cmd *cobra.Command) { addMost(cmd, &days, "days", 30) },
		ask:   func(ctx context.Context, s *store.Store) ([]store.Coverage, error) { return s.Coverage(ctx, days) },
		cells: func(c store.Coverage) []string {
			return []string{c.Day, fmt.Sprint(c.Findings), fmt.Sprint(c.Disposed), fmt.Sprintf("%.1f %%", 100*c.Share)}
		},
	}.command(g)
}

// withStore opens the store of a running pipeline for one question.
func withStore(cmd *cobra.Command, g *global, ask func(context.Context, app.Config, *store.Store) error) error {
	cfg, log, err := g.attach(cmd)
	if err != nil {
		return err
	}
	s, err := store.Open(cmd.Context(), cfg.Store, prometheus.NewRegistry(), log)
	if err != nil {
		return fmt.Errorf("%w; does 'stakeout up' run over %s (up.dir), or where else is ClickHouse (store.url)?", err, cfg.Up.Dir)
	}
	err = ask(cmd.Context(), cfg, s)
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

func newIncident(g *global) *cobra.Command {
	var out format
	cmd := &cobra.Command{
		Use:   "incident ID",
		Short: "Show all that is known of one incident",
		Long: `Show an incident as a person needs it who was just woken: each finding with the first
look at it (what was asked, what to think of it, what it comes to), what was done, and
all of it in order of time. What became part of it from other incidents is there too.`,
		Example: example("stakeout incidents --open", "stakeout incident 3f9c...", "stakeout incident 3f9c... --format json | jq ."),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withStore(cmd, g, func(ctx context.Context, _ app.Config, s *store.Store) error {
				file, ok, err := s.Incident(ctx, args[0])
				switch {
				case err != nil:
					return err
				case !ok:
					return fmt.Errorf("incident %.80q: is not known; `stakeout incidents` shows those there are, by their whole ids", args[0])
				case out == "json":
					enc := json.NewEncoder(cmd.OutOrStdout())
					enc.SetIndent("", "  ")
					return enc.Encode(file)
				}
				return printIncident(cmd.OutOrStdout(), file)
			})
		},
	}
	mustSucceed(addFormat(cmd, &out))
	return cmd
}
