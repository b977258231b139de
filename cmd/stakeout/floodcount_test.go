package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// put writes the findings from one number to another.
func (f *flooded) put(t *testing.T, from, to int) {
	t.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		agent := fmt.Sprintf("stray-%03d", i%strays)
		value, err := json.Marshal(&detect.Finding{
			ID: fmt.Sprintf("first_use/%s/%d", agent, i), Detector: "first_use", Threat: detect.PrivilegeDrift, Severity: detect.High, Time: event.At(time.Now()),
			Agent: agent, Session: "of " + agent, Credential: detect.Credential{ID: "jti-" + agent}, Evidence: []string{fmt.Sprint(i)},
			PValue: 1e-6, Level: 1e-3, Observed: "crm:export", Reason: agent + " exercised crm:export for the first time",
		})
		check(t, err)
		records = append(records, &kgo.Record{Topic: "stakeout.findings", Key: []byte(agent), Value: value})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	check(t, consumer(t, f.kafka).ProduceSync(ctx, records...).FirstErr())
}

// wantCoverage waits until coverage tells that each of so many findings was looked at.
func (f *flooded) wantCoverage(t *testing.T, want int) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		findings, disposed := 0, 0
		for _, d := range answer[struct{ Findings, Disposed int }](t, "coverage", "--config", f.file) {
			findings, disposed = findings+d.Findings, disposed+d.Disposed
		}
		if findings != want || disposed != want {
			return fmt.Errorf("of %d findings %d are disposed of, want %d", findings, disposed, want)
		}
		return nil
	})
}

// wantOnce holds what triage said on NATS, as the audit log has it, against what it may
// say once: a disposition of each finding, each status of an action, each command.
func (f *flooded) wantOnce(t *testing.T, findings int) {
	t.Helper()
	stream, err := f.operator(t).Stream(t.Context(), command.Actions)
	check(t, err)
	eventually(t, time.Minute, func() error {
		got, err := f.count("SELECT count() FROM stakeout.audit FINAL WHERE stream = 'ACTIONS'")
		if err != nil {
			return err
		}
		if info, err := stream.Info(t.Context()); err != nil || uint64(got) != info.State.LastSeq {
			return fmt.Errorf("%d messages are audited, want all of %+v: %w", got, info.State, err)
		}
		return nil
	})
	for _, c := range []struct{ subject, by string }{
		{"stakeout.case.", "JSONExtractString(payload, 'data', 'disposition', 'finding')"},
		{"stakeout.outcome.", "JSONExtractString(payload, 'id')"},
		{"stakeout.action.", "JSONExtractString(payload, 'id')"},
	} {
		got := f.rows(fmt.Sprintf("SELECT count(), uniqExact(%s AS id) FROM stakeout.audit FINAL WHERE stream = 'ACTIONS' AND startsWith(subject, '%s') AND id != ''", c.by, c.subject))[0]
		said, different, _ := strings.Cut(got, "\t")
		if said != different || said == "0" {
			t.Errorf("of %s* %s are said, %s different ones", c.subject, said, different)
		}
		if c.subject == "stakeout.case." && said != fmt.Sprint(findings) {
			t.Errorf("%s dispositions are said of %d findings", said, findings)
		}
	}
}

// both is the sum of a metric of both processes.
func (f *flooded) both(name string, labels ...string) int {
	f.t.Helper()
	return f.one.metric(name, labels...) + f.other.metric(name, labels...)
}

// commanded lists the commands on subjects of the ACTIONS stream.
func (f *flooded) commanded(t *testing.T, subject string) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	s, err := f.operator(t).Stream(t.Context(), command.Actions)
	check(t, err)
	for seq := uint64(1); ; {
		m, err := s.GetMsg(t.Context(), seq, jetstream.WithGetMsgSubject(subject))
		if err != nil {
			if !strings.Contains(err.Error(), jetstream.ErrMsgNotFound.Error()) {
				t.Fatal(err)
			}
			return all
		}
		all = append(all, m)
		seq = m.Sequence + 1
	}
}

// contained counts the agents that enforcement points are to stop altogether.
func (f *flooded) contained(t *testing.T) (n int) {
	t.Helper()
	kv, err := f.operator(t).KeyValue(t.Context(), command.PostureBucket)
	check(t, err)
	keys, err := kv.Keys(t.Context())
	check(t, err)
	for _, k := range keys {
		e, err := kv.Get(t.Context(), k)
		check(t, err)
		var signed struct{ Posture struct{ Standing string } }
		check(t, json.Unmarshal(e.Value(), &signed))
		if signed.Posture.Standing == string(command.Contained) {
			n++
		}
	}
	return n
}
