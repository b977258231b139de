package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/demo"
	"github.com/stakeout-project/stakeout/cmd/internal/stage"
)

func newDemo(g *global) *cobra.Command {
	cfg := demo.DefaultConfig()
	var out format
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it at work on this machine, in two minutes",
		Long: `Start the whole pipeline over embedded parts, on free ports, with an identity
provider that issues and revokes tokens. Send it a clean fortnight of a simulated
fleet, then let the fleet work live while some of its agents are attacked. Every
finding and every action is shown as it happens.

At the end everything is counted from outside, in Kafka, NATS and ClickHouse. The
exit status is 0 only if every attack was detected, the token behind it verified to
be revoked, and no event, finding or action was lost or doubled.`,
		Example: example("stakeout demo", "stakeout demo --format json", "stakeout demo --agents 100 --seed 7 --dir ./demo-data"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, _, err := g.load(cmd)
			if err != nil {
				return err
			}
			// What the roles have to say would drown what is shown.
			conf.Log.Level = max(conf.Log.Level, slog.LevelWarn)
			log := newLogger(cmd.ErrOrStderr(), conf.Log)
			stdout := cmd.OutOrStdout()
			v := &viewer{out: stdout, live: isTerminal(stdout)}
			if out == "json" {
				v.out, v.live = cmd.ErrOrStderr(), isTerminal(cmd.ErrOrStderr())
			}
			result, err := demo.Run(cmd.Context(), cfg, v, log)
			v.line()
			if result.Threats == nil {
				return err
			}
			if out == "json" {
				if jerr := json.NewEncoder(stdout).Encode(result); jerr != nil {
					return jerr
				}
				return err
			}
			fmt.Fprintln(stdout)
			if perr := result.Print(stdout); perr != nil {
				return perr
			}
			return err
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Agents, "agents", cfg.Agents, "agents of the fleet")
	f.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "seed of the fleet")
	f.IntVar(&cfg.Injections, "injections", cfg.Injections, "attacks of each threat")
	f.StringSliceVar(&cfg.Threats, "threats", cfg.Threats, "threats to inject; see 'stakeout simulate --help'")
	f.DurationVar(&cfg.Live, "live", cfg.Live, "length of the live phase")
	f.StringVar(&cfg.Dir, "dir", "", "keep the data in this directory")
	mustSucceed(addFormat(cmd, &out))
	return cmd
}

// viewer prints what happens, line by line; progress stays on one line of a terminal.
type viewer struct {
	mu   sync.Mutex
	out  io.Writer
	live bool
	open bool // a line of progress is not ended
	last int  // tenth of the progress printed last, where it is no terminal
}

func (v *viewer) Say(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.say(format, args...)
}

func (v *viewer) say(format string, args ...any) {
	if v.open {
		fmt.Fprintln(v.out)
		v.open = false
	}
	fmt.Fprintf(v.out, format+"\n", args...)
}

func (v *viewer) line() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open {
		fmt.Fprintln(v.out)
		v.open = false
	}
}

func (v *viewer) Progress(what string, done, total int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if total == 0 {
		return
	}
	if v.live {
		fmt.Fprintf(v.out, "\r\033[K  %s %d of %d events (%d%%)", what, done, total, 100*done/total)
		v.open = true
		return
	}
	if tenth := int(10 * done / total); tenth != v.last {
		v.last = tenth
		v.say("  %s %d of %d events", what, done, total)
	}
}

func (v *viewer) Finding(s stage.Sighting) {
	f := s.Finding
	v.Say("  %s  finding  %-15s %s", s.At.Format("15:04:05.000"), f.Detector, printable(f.Reason))
}

func (v *viewer) Outcome(s stage.Sighting) {
	o := s.Outcome
	detail := o.Detail
	if detail != "" {
		detail = ": " + detail
	}
	v.Say("  %s  action   %-15s %s for %s%s", s.At.Format("15:04:05.000"), o.Action.Kind, o.Status, printable(o.Action.Target.Agent), printable(detail))
}

var _ stage.Viewer = (*viewer)(nil)
