package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

func newBrake(g *global) *cobra.Command {
	var out format
	cmd := &cobra.Command{
		Use:   "brake",
		Short: "Show the brakes, pull one, release one",
		Long: `Show the brakes that are on. A brake goes on by itself when the budget of a kind of
action is exhausted (brake.for in the response policy), or because an operator pulls it.
What would take something away from an agent by itself waits for a person then, or is
held back where the policy names nobody who may approve it; a page tells of each.

Reads NATS as the operator (operator.nats).`,
		Example: example("stakeout brake", "stakeout brake pull --why 'a bad deployment'", "stakeout brake release --kind suspend --why 'they were right'"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := g.attach(cmd)
			if err != nil {
				return err
			}
			all, err := app.Brakes(cmd.Context(), cfg.Operator, log)
			if err != nil {
				return err
			}
			return printBrakes(cmd, out, all, event.At(time.Now()))
		},
	}
	mustSucceed(addFormat(cmd, &out))
	cmd.AddCommand(newBrakeTurn(g, command.Pull), newBrakeTurn(g, command.Release))
	return cmd
}

func printBrakes(cmd *cobra.Command, f format, all []command.Brake, now event.Timestamp) error {
	on := []command.Brake{}
	for _, b := range all {
		if b.Holds(now) {
			on = append(on, b)
		}
	}
	if f == "json" {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(on)
	}
	t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KIND\tTENANT\tSINCE\tUNTIL\tBY\tWHY")
	for _, b := range on {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", cmp.Or(string(b.Kind), "all"), printable(cmp.Or(b.Tenant, "all")), when(b.Since), when(b.Until),
			cmp.Or(b.Operator, "budget"), printable(b.Why))
	}
	return t.Flush()
}

func newBrakeTurn(g *global, d command.Decision) *cobra.Command {
	var kind command.Kind
	var tenant, why string
	short := "Have what takes something away wait for a person"
	if d == command.Release {
		short = "Let actions go by themselves again, with an empty window"
	}
	cmd := &cobra.Command{
		Use:   string(d),
		Short: short,
		Long: short + `. The decision is signed with your key (operator.signing_key), which must be
among triage.trust.operators; to release a brake it must be among brake.approvers of the
response policy where that names some. It stands in the audit log.`,
		Example: example("stakeout brake " + string(d) + " --kind revoke_token --tenant acme --why 'a bad deployment'"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kind != "" && !kind.Contains() {
				return fmt.Errorf("--kind: %s takes nothing away, so no brake holds it", printable(string(kind)))
			}
			return g.decide(cmd, command.Approval{Action: command.BrakeID(kind, tenant), Decision: d, Kind: kind, Tenant: tenant, Why: why}, "decision sent; see `stakeout brake`")
		},
	}
	addChoice(cmd, &kind, "kind", "of this kind of action only, such as revoke_token", command.Kinds())
	cmd.Flags().StringVar(&tenant, "tenant", "", "against agents of this tenant only")
	addWhy(cmd, &why)
	mustSucceed(cmd.MarkFlagRequired("why"))
	return cmd
}

// risk is what is left of a risk by now.
func risk(r *command.Risk) string {
	if r == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f", r.At(event.At(time.Now())))
}
