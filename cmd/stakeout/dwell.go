package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/triage/command"
)

func newDwell(g *global) *cobra.Command {
	var f store.DwellFilter
	var since time.Duration
	ms := func(v float64) string {
		return time.Duration(v * float64(time.Millisecond)).Round(time.Microsecond).String()
	}
	return question[store.Stage]{
		use:   "dwell",
		short: "Show how long it took from an anomaly to its end",
		long: `Show each part of the way from an anomaly to its verified end, over all actions that
were commanded: occurred, by the agent's clock; ingested, taken in by Kafka; found,
judged by detect; commanded on NATS; verified by the executor. The last rows are the
whole way: until the agent was stopped, and until a person acknowledged it, which is to
approve, reject or undo an action, or to close the incident. Of an incident's first
event, so what an agent did before it was stopped by a later action counts.`,
		head: []string{"FROM", "TO", "COUNT", "P50", "P90", "P99", "MAX"},
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&f.Agent, "agent", "", "against this agent only")
			addChoice(cmd, &f.Kind, "kind", "of this kind only, such as revoke_token", names(command.Kinds()))
			addSince(cmd, &since, "commanded within this time, such as 24h")
		},
		ask: func(ctx context.Context, s *store.Store) ([]store.Stage, error) {
			f.Since = ago(since)
			return s.Dwell(ctx, f)
		},
		cells: func(s store.Stage) []string {
			if s.Count == 0 {
				return []string{s.From, s.To, "0", "-", "-", "-", "-"}
			}
			return []string{s.From, s.To, fmt.Sprint(s.Count), ms(s.P50), ms(s.P90), ms(s.P99), ms(s.Max)}
		},
	}.command(g)
}
