// Package stage is what demonstrations and drills are played on: all roles over
// embedded parts in one process, an identity provider whose tokens can be
// revoked, a sender of events, and an observer without a part in the pipeline.
package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/deploy/local"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/triage/command"
)

// Config says what a stage is made of.
type Config struct {
	Dir      string // data directory, kept; empty: a temporary one
	Response []byte // the response policy in force
}

// A Stage is everything that runs. Its parts are ready when [Open] returns; the
// roles start with [Stage.Run].
type Stage struct {
	App    app.Config
	Client *stream.Client
	Tables *store.Store
	Watch  *Watch

	dir, temporary string
	log            *slog.Logger
	local          *app.Local
	idp            *local.IDP
}

// Open starts the embedded parts and the identity provider.
func Open(ctx context.Context, cfg Config, view Viewer, log *slog.Logger) (_ *Stage, err error) {
	s := &Stage{dir: cfg.Dir, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.dir == "" {
		if s.temporary, err = os.MkdirTemp("", "stakeout-"); err != nil {
			return nil, err
		}
		s.dir = s.temporary
	}
	s.App = app.DefaultConfig()
	s.App.HTTP.Listen = ""
	s.App.Topics.Partitions = 4
	s.App.Up = app.Embedded{Dir: filepath.Join(s.dir, "data"), Kafka: "127.0.0.1:0", NATS: "127.0.0.1:0", ClickHouse: "127.0.0.1:0"}
	if err := s.contain(cfg.Response); err != nil {
		return nil, err
	}
	if s.local, s.App, err = app.StartLocal(ctx, s.App, log); err != nil {
		return nil, err
	}
	if s.Client, err = stream.Open(s.App.Kafka, prometheus.NewRegistry(), log); err != nil {
		return nil, err
	}
	if err := s.Client.EnsureTopics(ctx, s.App.Topics.All()...); err != nil {
		return nil, err
	}
	if s.Tables, err = store.Open(ctx, s.App.Store, prometheus.NewRegistry(), log); err != nil {
		return nil, err
	}
	if err := s.Tables.Migrate(ctx); err != nil {
		return nil, err
	}
	s.Watch = newWatch(s.App, s.Client, view, log)
	return s, nil
}

// contain prepares what containment needs: an identity provider, a vault with the
// tokens it issued, and the response policy.
func (s *Stage) contain(response []byte) (err error) {
	if s.idp, err = local.StartIDP(local.DefaultIDPConfig()); err != nil {
		return err
	}
	vault, secret, policy := filepath.Join(s.dir, "vault"), filepath.Join(s.dir, "idp.secret"), filepath.Join(s.dir, "response.yaml")
	if err := os.MkdirAll(vault, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(secret, []byte(s.idp.Secret()), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(policy, response, 0o600); err != nil {
		return err
	}
	s.App.Rules.Response = policy
	s.App.OAuth.Vault = vault
	server := &s.App.OAuth.Server
	server.RevokeURL, server.IntrospectURL = s.idp.URL()+"/revoke", s.idp.URL()+"/introspect"
	server.ClientID, server.SecretFile = s.idp.ClientID(), secret
	return nil
}

// Run runs all roles and the observer while play goes on, and returns when they
// have put down their work.
func (s *Stage) Run(ctx context.Context, play func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return app.Run(ctx, s.App, s.log, app.Ingest, app.Detect, app.Triage, app.Store, app.Executor)
	})
	g.Go(func() error { return s.Watch.findings(ctx) })
	g.Go(func() error { return s.Watch.outcomes(ctx) })
	g.Go(func() error {
		defer cancel()
		return play(ctx)
	})
	return g.Wait()
}

// Close stops the parts, and removes their data if the directory is a temporary one.
func (s *Stage) Close() error {
	var errs []error
	if s.Tables != nil {
		errs = append(errs, s.Tables.Close())
	}
	if s.Client != nil {
		s.Client.Close()
	}
	if s.local != nil {
		errs = append(errs, s.local.Close())
	}
	if s.idp != nil {
		errs = append(errs, s.idp.Close())
	}
	if s.temporary != "" {
		errs = append(errs, os.RemoveAll(s.temporary))
	}
	return errors.Join(errs...)
}

// Issue has the identity provider issue the token behind a credential id, and
// puts it where the executor looks for it.
func (s *Stage) Issue(id string) error {
	token := s.idp.Issue(id)
	return os.WriteFile(filepath.Join(s.App.OAuth.Vault, command.Token(id)), []byte(token), 0o600)
}

// As is what a client needs to connect to the embedded NATS server in a role.
func (s *Stage) As(role local.NATSRole) command.NATSConfig {
	n := s.local.NATS
	return command.NATSConfig{URL: n.URL(), SeedFile: n.SeedFile(role), InboxPrefix: n.InboxPrefix(role)}
}

// SQL asks ClickHouse for one number, by plain HTTP, without our own code.
func (s *Stage) SQL(ctx context.Context, query string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.App.Store.URL+"/?query="+url.QueryEscape(query), nil)
	if err != nil {
		return 0, err
	}
	password, err := os.ReadFile(s.App.Store.PasswordFile)
	if err != nil {
		return 0, err
	}
	req.SetBasicAuth(s.App.Store.User, strings.TrimSpace(string(password)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return 0, err
	}
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("clickhouse answers %s: %s", res.Status, body)
	}
	return strconv.ParseInt(strings.TrimSpace(string(body)), 10, 64)
}

// Sleep waits for d, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("ended early: %w", ctx.Err())
	case <-t.C:
		return nil
	}
}
