package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/triage/command"
)

func newAudit(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Prove what was decided, by whom",
		Long: `Everything that triage commanded and recorded, and everything that executors answered
and operators decided, stands in the table audit in the order it was said: each row with
its signature, and with a hash over itself and the row before it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditVerify(g))
	return cmd
}

func newAuditVerify(g *global) *cobra.Command {
	var out format
	var expect []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Verify the audit log, row by row",
		Long: `Verify that no row of the audit log was altered, removed or put elsewhere, and that
triage signed what it is said to have said (actions.trust). Each problem names its row.

Who can rewrite the whole table can shorten it, or chain answers of executors and
operators anew: note the last row that verify prints somewhere else, and give it as
--expect later.

The exit status is 0 only if everything holds.`,
		Example: example("stakeout audit verify", "stakeout audit verify --expect ACTIONS:4711:9f2c..."),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ends, err := parseEnds(expect)
			if err != nil {
				return err
			}
			return withStore(cmd, g, func(ctx context.Context, cfg app.Config, s *store.Store) error {
				var all []store.Audited
				var errs []error
				for _, stream := range []string{command.Actions, command.Acks} {
					a, err := s.Audit(ctx, stream, cfg.Actions.Trust, ends[stream])
					if err != nil && !errors.Is(err, store.ErrAudit) {
						return err
					}
					all, errs = append(all, a), append(errs, err)
				}
				if err := printAudit(cmd, out, all); err != nil {
					return err
				}
				return errors.Join(errs...)
			})
		},
	}
	cmd.Flags().StringArrayVar(&expect, "expect", nil, "a row noted before, as STREAM:SEQUENCE:HASH (repeatable)")
	mustSucceed(addFormat(cmd, &out))
	return cmd
}

func parseEnds(expect []string) (map[string]map[uint64]string, error) {
	ends := map[string]map[uint64]string{}
	for _, e := range expect {
		parts := strings.Split(e, ":")
		if len(parts) != 3 || parts[0] != command.Actions && parts[0] != command.Acks {
			return nil, fmt.Errorf("--expect %s: want ACTIONS:SEQUENCE:HASH or ACKS:SEQUENCE:HASH", e)
		}
		seq, err := strconv.ParseUint(parts[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("--expect %s: want a number as sequence", e)
		}
		if ends[parts[0]] == nil {
			ends[parts[0]] = map[uint64]string{}
		}
		ends[parts[0]][seq] = parts[2]
	}
	return ends, nil
}

func printAudit(cmd *cobra.Command, out format, all []store.Audited) error {
	if out == "json" {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	var b strings.Builder
	for _, a := range all {
		fmt.Fprintf(&b, "%s: %d rows, the last is %s:%d:%s\n", a.Stream, a.Rows, a.Stream, a.Last, a.Head)
		for _, p := range a.Problems {
			fmt.Fprintf(&b, "  %s\n", printable(p))
		}
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), b.String())
	return err
}
