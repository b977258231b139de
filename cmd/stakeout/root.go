package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
)

// global holds what every subcommand can be given.
type global struct {
	file string
	set  []string
}

func newRoot() *cobra.Command {
	var g global
	root := &cobra.Command{
		Use:   "stakeout",
		Short: "Watch AI agents and stop the one that stops behaving like itself",
		Long: `Stakeout reads the logs that AI agents already write, learns what is normal for
each agent, reports what is not, and has the credentials of a hijacked agent revoked.

  stakeout demo     see all of it at work on this machine, in half a minute
  stakeout up       run the whole pipeline here, on embedded Kafka, NATS and ClickHouse
  stakeout ship     send it JSON lines, one event a line

Agents' log lines flow through Kafka: ingest decodes them, detect judges each agent
against its own past, triage turns findings into signed commands on NATS, executor
carries them out and looks whether they worked, store writes everything to ClickHouse.
All roles can run in one process (up), or each as processes of its own, in any number.

CONFIGURATION
  Defaults, then the file named by --config, then the environment, then --set.
  Environment variables start with STAKEOUT_, levels are separated by two
  underscores: STAKEOUT_KAFKA__BROKERS=10.0.0.1:9093 sets kafka.brokers.
  'stakeout config' prints what is in force. A key that does not exist is an error.
  STAKEOUT_CONFIG names the file where --config does not. STAKEOUT_LIBCHDB names the
  library of the ClickHouse engine for up, demo and drill.

FILES
  stakeout-data/    where 'stakeout up' keeps its data (up.dir)

EXIT STATUS
  0 on success, and when 'up' or a role is stopped by a signal; 1 on failure, and
  when anything else is interrupted before it is done.`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,

		SuggestionsMinimumDistance: 2,
	}
	root.PersistentFlags().StringVarP(&g.file, "config", "c", os.Getenv("STAKEOUT_CONFIG"), "configuration file (YAML)")
	root.PersistentFlags().StringArrayVarP(&g.set, "set", "s", nil, "set a value, such as kafka.brokers=127.0.0.1:9092 (repeatable)")
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run it:"}, &cobra.Group{ID: "feed", Title: "Feed it:"}, &cobra.Group{ID: "ask", Title: "Ask it:"}, &cobra.Group{ID: "act", Title: "Decide:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", newDemo(&g), newDrill(&g), newUp(&g), newRole(&g, app.Ingest), newRole(&g, app.Detect), newRole(&g, app.Triage), newRole(&g, app.Store), newRole(&g, app.Executor), newCanary(&g))
	add("feed", newShip(&g), newSimulate())
	add("ask", newIncidents(&g), newIncident(&g), newFindings(&g), newActions(&g), newDwell(&g), newCoverage(&g), newSuppressions(&g), newAudit(&g), newAgents(&g), newRejects(&g), newBacktest(&g), newConfig(&g))
	add("act", newDecide(&g, "approve"), newDecide(&g, "reject"), newClose(&g), newReopen(&g), newBrake(&g))
	root.AddCommand(newEngine(), newPart())
	pointToHelp(root)
	return root
}

// load reads the configuration and makes the logger that it asks for.
func (g *global) load(cmd *cobra.Command) (app.Config, *slog.Logger, error) {
	cfg, err := app.Load(g.file, os.Environ(), g.set)
	if err != nil {
		return cfg, nil, err
	}
	return cfg, newLogger(cmd.ErrOrStderr(), cfg.Log), nil
}

func newLogger(w io.Writer, cfg app.Log) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.Level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// format is the flag that chooses between a table for people and JSON for programs.
type format string

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }

func (f *format) Set(s string) error {
	if s != "table" && s != "json" {
		return fmt.Errorf("is %q, want table or json", s)
	}
	*f = format(s)
	return nil
}

func addFormat(cmd *cobra.Command, f *format) error {
	*f = "table"
	cmd.Flags().Var(f, "format", "output: table or json")
	return cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value[:min(len(s.Value), 12)]
		}
	}
	return "devel"
}

// example indents the lines of an example as cobra wants them.
func example(lines ...string) string { return "  " + strings.Join(lines, "\n  ") }
