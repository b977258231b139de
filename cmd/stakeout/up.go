package main

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/store/chdb"
)

func newUp(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Run the whole pipeline on this machine",
		Long: `Run all roles in one process, over a Kafka broker, a NATS server and a ClickHouse
engine that are embedded, listen on loopback and keep their data under up.dir. A
part for which the configuration names another address than the default
(kafka.brokers, triage.nats.url, store.url) is not embedded: that server is used.
For a server of yours on the usual port write localhost:9092, nats://localhost:4222
or http://localhost:8123: 127.0.0.1 with that port is the default, and embeds.

The embedded parts listen on their usual ports, 9092, 4222 and 8123 (up.kafka, up.nats,
up.clickhouse; 127.0.0.1:0 is any free one), or on free ones where those are taken,
so kcat, nats, curl and Grafana work against them.
Health, readiness and metrics are on http://127.0.0.1:9600 (http.listen: /healthz,
/readyz, /metrics). Ctrl-C stops everything in order; the data opens again next time.`,
		Example: example("stakeout up", "stakeout up --set up.dir=/var/lib/stakeout", "stakeout up --set store.url=clickhouses://ch.example.net:9440 --set store.password_file=ch.secret"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := g.load(cmd)
			if err != nil {
				return err
			}
			return app.Up(cmd.Context(), cfg, log, func(cfg app.Config) {
				fmt.Fprintf(cmd.OutOrStdout(), "kafka %s, nats %s, clickhouse %s, health http://%s\nready for `stakeout ship FILE`; Ctrl-C stops\n",
					cfg.Kafka.Brokers[0], cfg.Triage.NATS.URL, redacted(cfg.Store.URL), cfg.HTTP.Listen)
			})
		},
	}
}

// redacted is a URL without the password that it may hold.
func redacted(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}

var roleDocs = map[app.Role][2]string{
	app.Ingest:   {"Decode raw lines into events", "Read the raw topics, write events keyed by agent, and what is no event, with the reason, to the rejects."},
	app.Detect:   {"Judge each agent against its own past", "Read events, keep a baseline for each agent in the profiles topic, write findings."},
	app.Triage:   {"Decide what is done about findings", "Read findings, join them into incidents, answer them as the response policy says, and send signed commands on NATS.\nNeeds triage.signing_key and triage.trust."},
	app.Store:    {"Write everything to ClickHouse", "Read events, findings, profiles and rejects from Kafka and actions from NATS, and write them to ClickHouse in batches."},
	app.Executor: {"Carry out commands and verify them", "Take commands from NATS, carry them out (OAuth token revocation, paging), look whether they worked, and answer, signed.\nNeeds executor.signing_key and executor.trust."},
}

func newRole(g *global, role app.Role) *cobra.Command {
	doc := roleDocs[role]
	return &cobra.Command{
		Use:     string(role),
		Short:   doc[0],
		Long:    doc[1] + "\n\nRuns one role against servers that the configuration names, in any number of processes.",
		Example: example("stakeout " + string(role) + " --config /etc/stakeout.yaml"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := g.load(cmd)
			if err != nil {
				return err
			}
			return app.Run(cmd.Context(), cfg, log, role)
		},
	}
}

// newEngine is the process that `up` starts to run the ClickHouse engine in.
func newEngine() *cobra.Command {
	return &cobra.Command{
		Use:    app.EngineCommand,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return chdb.Child(cmd.Context(), cmd.InOrStdin(), newLogger(cmd.ErrOrStderr(), app.Log{}))
		},
	}
}
