package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/store/chdb"
)

// newPart runs one embedded part alone, so that it can be killed alone. When it
// answers, it prints what its clients need, as JSON on one line.
func newPart() *cobra.Command {
	var dir, listen, advertise string
	var failed <-chan error
	parts := map[string]func(*cobra.Command) (client any, stop func() error, err error){
		"kafka": func(cmd *cobra.Command) (any, func() error, error) {
			cfg := local.DefaultKafkaConfig()
			cfg.Dir, cfg.Listen, cfg.Advertise = dir, listen, advertise
			k, err := local.StartKafka(cfg, newLogger(cmd.ErrOrStderr(), app.Log{}))
			if err != nil {
				return nil, nil, err
			}
			failed = k.Failed()
			return map[string]string{"addr": k.Addr()}, k.Close, nil
		},
		"nats": func(cmd *cobra.Command) (any, func() error, error) {
			n, err := local.StartNATS(local.NATSConfig{Dir: dir, Listen: listen}, newLogger(cmd.ErrOrStderr(), app.Log{}))
			if err != nil {
				return nil, nil, err
			}
			roles := map[local.NATSRole]map[string]string{}
			for _, r := range local.NATSRoles() {
				roles[r] = map[string]string{"seed_file": n.SeedFile(r), "inbox_prefix": n.InboxPrefix(r), "signing_file": n.SigningFile(r), "signing_key": n.SigningKey(r)}
			}
			return map[string]any{"url": n.URL(), "roles": roles}, func() error { n.Close(); return nil }, nil
		},
		"clickhouse": func(cmd *cobra.Command) (any, func() error, error) {
			exe, err := os.Executable()
			if err != nil {
				return nil, nil, fmt.Errorf("find our own binary: %w", err)
			}
			e, err := chdb.Start(cmd.Context(), chdb.Options{Dir: dir, Args: []string{exe, app.EngineCommand}, Listen: listen, Log: newLogger(cmd.ErrOrStderr(), app.Log{})})
			if err != nil {
				return nil, nil, err
			}
			return map[string]string{"addr": e.Addr(), "user": "stakeout", "password_file": e.PasswordFile()}, e.Close, nil
		},
	}
	cmd := &cobra.Command{
		Use:       "part kafka|nats|clickhouse",
		Short:     "Run one embedded part alone",
		Hidden:    true,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"kafka", "nats", "clickhouse"},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, stop, err := parts[args[0]](cmd)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(client); err != nil {
				return fmt.Errorf("tell that %s is ready: %w", args[0], err)
			}
			select {
			case <-cmd.Context().Done():
				return stop()
			case err := <-failed:
				return errors.Join(err, stop())
			}
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "data directory")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "host:port")
	cmd.Flags().StringVar(&advertise, "advertise", "", "host:port that clients of kafka are told")
	return cmd
}
