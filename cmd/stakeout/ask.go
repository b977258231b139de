package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/store"
)

// question is a subcommand that reads rows from ClickHouse and prints them.
type question[Row any] struct {
	use, short, long string
	none             string // where to look when there is nothing to show
	head             []string
	flags            func(*cobra.Command)
	ask              func(context.Context, *store.Store) ([]Row, error)
	cells            func(Row) []string
}

func (q question[Row]) command(g *global) *cobra.Command {
	var out format
	cmd := &cobra.Command{
		Use:     q.use,
		Short:   q.short,
		Long:    q.long + "\n\nReads ClickHouse at store.url; started beside a running 'stakeout up', it finds that one.",
		Example: example("stakeout "+q.use, "stakeout "+q.use+" --format json | jq ."),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var rows []Row
			err := withStore(cmd, g, func(ctx context.Context, _ app.Config, s *store.Store) (err error) {
				rows, err = q.ask(ctx, s)
				return err
			})
			if err != nil {
				return err
			}
			if len(rows) == 0 && out == "table" && q.none != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), "none; "+q.none)
			}
			return q.print(cmd.OutOrStdout(), out, rows)
		},
	}
	if q.flags != nil {
		q.flags(cmd)
	}
	mustSucceed(addFormat(cmd, &out))
	return cmd
}

func (q question[Row]) print(w io.Writer, f format, rows []Row) error {
	if f == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		if rows == nil {
			rows = []Row{}
		}
		return enc.Encode(rows)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(q.head, "\t"))
	for _, r := range rows {
		cells := q.cells(r)
		for i, c := range cells {
			cells[i] = printable(c)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// printable keeps what an agent chose to call itself from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func when(t event.Timestamp) string {
	if t == 0 {
		return "-"
	}
	return t.Time().Format("2006-01-02 15:04:05")
}

// counted is how many there are of something.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// ago turns a duration flag into a time; zero is no limit.
func ago(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(-d)
}
