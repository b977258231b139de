package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/triage/command"
)

// caseRow is what triage told of an incident.
type caseRow struct {
	command.Case
	version     uint64
	incident    string // as JSON
	disposition string
	suppression string
	draft       string
}

// order tells which of two rows of an incident stands. Triage tells of one from
// several processes, so the later message may be about the earlier state.
func (c *caseRow) order() uint64 {
	if c.Incident.Revision != 0 {
		return c.Incident.Revision
	}
	return c.version
}

func incidentsTable() table[caseRow] {
	type r = caseRow
	return table[r]{"incidents", []field[r]{
		col("id", func(c *r) string { return c.Incident.ID }),
		col("agent", func(c *r) string { return c.Incident.Agent }),
		col("agents", func(c *r) []string { return c.Incident.Agents }),
		col("session", func(c *r) string { return c.Incident.Session }),
		col("open", func(c *r) uint8 {
			if c.Incident.Open {
				return 1
			}
			return 0
		}),
		col("into", func(c *r) string { return c.Incident.Into }),
		col("severity", func(c *r) uint8 { return uint8(c.Incident.Severity) }),
		col("first", func(c *r) time.Time { return c.Incident.First.Time() }),
		col("last", func(c *r) time.Time { return c.Incident.Last.Time() }),
		col("acknowledged", func(c *r) *time.Time { return maybe(c.Incident.Acknowledged) }),
		col("findings", func(c *r) uint64 { return c.Incident.Count }),
		col("threats", func(c *r) []string { return c.Incident.Threats }),
		col("detectors", func(c *r) []string { return c.Incident.Detectors }),
		col("verdict", func(c *r) string { return string(c.Incident.Verdict) }),
		col("decided_by", func(c *r) string { return c.Incident.By }),
		col("why", func(c *r) string { return c.Incident.Why }),
		col("changed", func(c *r) time.Time { return c.Time.Time() }),
		col("version", func(c *r) uint64 { return c.order() }),
		col("raw", func(c *r) string { return c.incident }),
	}}
}

func dispositionsTable() table[caseRow] {
	type r = caseRow
	return table[r]{"dispositions", []field[r]{
		col("finding", func(c *r) string { return c.Disposition.Finding }),
		col("incident", func(c *r) string { return c.Incident.ID }),
		col("agent", func(c *r) string { return c.Incident.Agent }),
		col("detector", func(c *r) string { return c.Disposition.Detector }),
		col("verdict", func(c *r) string { return string(c.Disposition.Report.Verdict) }),
		col("confidence", func(c *r) string { return c.Disposition.Report.Confidence }),
		col("suppression", func(c *r) string { return c.Disposition.Suppression }),
		col("time", func(c *r) time.Time { return c.Time.Time() }),
		col("version", func(c *r) uint64 { return c.version }),
		col("raw", func(c *r) string { return c.disposition }),
	}}
}

func suppressionsTable() table[caseRow] {
	type r = caseRow
	return table[r]{"suppressions", []field[r]{
		col("id", func(c *r) string { return c.Suppression.ID }),
		col("incident", func(c *r) string { return c.Suppression.Incident }),
		col("agent", func(c *r) string { return c.Suppression.Agent }),
		col("detector", func(c *r) string { return c.Suppression.Detector }),
		col("owner", func(c *r) string { return c.Suppression.Owner }),
		col("why", func(c *r) string { return c.Suppression.Why }),
		col("since", func(c *r) time.Time { return c.Suppression.Since.Time() }),
		col("until", func(c *r) time.Time { return c.Suppression.Until.Time() }),
		col("removed", func(c *r) uint8 {
			if c.Suppression.Removed {
				return 1
			}
			return 0
		}),
		col("removed_by", func(c *r) string { return c.Suppression.RemovedBy }),
		col("version", func(c *r) uint64 { return c.version }),
		col("raw", func(c *r) string { return c.suppression }),
	}}
}

func draftsTable() table[caseRow] {
	type r = caseRow
	return table[r]{"drafts", []field[r]{
		col("finding", func(c *r) string { return c.Draft.Finding }),
		col("incident", func(c *r) string { return c.Incident.ID }),
		col("model", func(c *r) string { return c.Draft.Model }),
		col("text", func(c *r) string { return c.Draft.Text }),
		col("time", func(c *r) time.Time { return c.Time.Time() }),
		col("version", func(c *r) uint64 { return c.version }),
		col("raw", func(c *r) string { return c.draft }),
	}}
}

// RunCases stores what triage tells of incidents until ctx ends, as [Store.RunActions] does for actions.
func (s *Store) RunCases(ctx context.Context, js jetstream.JetStream, keys command.Keyring) error {
	return s.follow(ctx, js, command.Actions, command.CaseConsumer, func(ctx context.Context, msgs []jetstream.Msg) error {
		return storeCases(ctx, s, msgs, keys)
	})
}

// storeCases stores what messages tell of incidents.
func storeCases[M message](ctx context.Context, s *Store, msgs []M, keys command.Keyring) error {
	var incidents, dispositions, suppressions, drafts []item[caseRow]
	for _, m := range msgs {
		row, src, err := decodeCase(m, keys)
		if err != nil {
			s.refuse(Refused{Table: "incidents", Topic: m.Subject(), Offset: src.offset, Err: err})
			continue
		}
		if row.Draft != nil { // a draft changes nothing but that there is one
			drafts = append(drafts, item[caseRow]{row, len(m.Data()), src})
			continue
		}
		incidents = append(incidents, item[caseRow]{row, len(m.Data()), src})
		if row.Disposition != nil {
			dispositions = append(dispositions, item[caseRow]{row, len(m.Data()), src})
		}
		if row.Suppression != nil {
			suppressions = append(suppressions, item[caseRow]{row, len(m.Data()), src})
		}
	}
	if len(drafts) > 0 {
		if err := draftsTable().insert(ctx, s.conn, drafts); err != nil {
			return err
		}
	}
	if len(incidents) == 0 {
		return nil
	}
	// Dispositions first: an incident that is shown has them.
	if len(dispositions) > 0 {
		if err := dispositionsTable().insert(ctx, s.conn, dispositions); err != nil {
			return err
		}
	}
	if len(suppressions) > 0 {
		if err := suppressionsTable().insert(ctx, s.conn, suppressions); err != nil {
			return err
		}
	}
	return incidentsTable().insert(ctx, s.conn, incidents)
}

func decodeCase(m message, keys command.Keyring) (row caseRow, src position, err error) {
	src = position{topic: m.Subject()}
	meta, err := m.Metadata()
	if err != nil {
		return caseRow{}, src, fmt.Errorf("decode case: %w", err)
	}
	src.offset, row.version = int64(meta.Sequence.Stream), meta.Sequence.Stream
	row.Case, err = command.ParseCase(keys, command.Message{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
	if err != nil {
		return caseRow{}, src, err
	}
	incident, err := json.Marshal(row.Incident)
	disposition, derr := json.Marshal(row.Disposition)
	suppression, serr := json.Marshal(row.Suppression)
	draft, terr := json.Marshal(row.Draft)
	if err := errors.Join(err, derr, serr, terr); err != nil {
		return caseRow{}, src, fmt.Errorf("encode case: %w", err)
	}
	row.incident, row.disposition, row.suppression, row.draft = string(incident), string(disposition), string(suppression), string(draft)
	return row, src, nil
}

// follow hands the messages of a durable consumer to store, batch after batch,
// until ctx ends, and acknowledges a batch when it is stored.
func (s *Store) follow(ctx context.Context, js jetstream.JetStream, stream, consumer string, store func(context.Context, []jetstream.Msg) error) error {
	for ctx.Err() == nil {
		err := s.followOnce(ctx, js, stream, consumer, store)
		if ctx.Err() != nil {
			break
		}
		s.log.Warn("messages not stored", "stream", stream, "consumer", consumer, "err", err, "retry_in", natsRetryWait)
		select {
		case <-ctx.Done():
		case <-time.After(natsRetryWait):
		}
	}
	return nil
}

func (s *Store) followOnce(ctx context.Context, js jetstream.JetStream, stream, consumer string, store func(context.Context, []jetstream.Msg) error) error {
	c, err := command.Bind(ctx, js, stream, consumer, s.log)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		msgs, fetchErr := fetch(ctx, c)
		if len(msgs) > 0 {
			if err := store(ctx, msgs); err != nil {
				for _, m := range msgs { // they come again, in their order
					err = errors.Join(err, m.NakWithDelay(natsRetryWait))
				}
				return err
			}
		}
		for _, m := range msgs {
			if err := m.Ack(); err != nil {
				return fmt.Errorf("acknowledge %s: %w", m.Subject(), err)
			}
		}
		if fetchErr != nil && ctx.Err() == nil {
			return fmt.Errorf("fetch from %s: %w", stream, fetchErr)
		}
	}
	return ctx.Err()
}
