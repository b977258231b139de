package store

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/triage/command"
)

// TestRestoreFromJetStream empties the tables of what comes from JetStream, and
// makes holes in the audit log: all of it comes back, and the log is the same.
func TestRestoreFromJetStream(t *testing.T) {
	k := newKeeping(t)
	for i := range 20 {
		m, err := command.EncodeOutcome(k.triage, outcomeOf(fmt.Sprint("a", i), "clerk", command.Verified, now))
		k.publish(m, err)
	}
	m, err := command.EncodeCase(k.triage, caseOf("i1", "f1", true, 1), "c1")
	k.publish(m, err)
	m, err = command.EncodeAck(signer(t), command.Ack{Action: "a1", Status: command.Verified})
	k.publish(m, err)

	audit := func() (heads [2]string) {
		k.Helper()
		k.eventually(func() error {
			for i, stream := range []string{command.Actions, command.Acks} {
				a, err := k.s.Audit(t.Context(), stream, k.keys, nil)
				if err != nil {
					return err
				}
				if want := []uint64{21, 1}[i]; a.Rows != want {
					return fmt.Errorf("%d rows of %s, want %d", a.Rows, stream, want)
				}
				heads[i] = a.Head
			}
			return nil
		})
		return heads
	}
	before := audit()
	k.stop()
	k.exec("DELETE FROM audit WHERE seq IN (1, 2, 8, 9, 21) OR stream = 'ACKS'")
	k.exec("TRUNCATE TABLE incidents")

	o := Origins{JetStream: k.js, Keys: k.keys}
	for table, want := range map[string]int{"audit": 6, "actions": 20, "incidents": 1} {
		rows, whole, err := k.s.restore(t.Context(), o, table, nil)
		k.must(err)
		if rows != want || !whole(part{}) {
			t.Errorf("%s: %d rows, whole %t; want %d, true", table, rows, whole(part{}), want)
		}
	}
	if diff := cmp.Diff(before, audit()); diff != "" {
		t.Errorf("the audit log differs (-before +after):\n%s", diff)
	}
	var incidents, dispositions uint64
	k.must(k.s.conn.QueryRow(t.Context(), "SELECT (SELECT count() FROM incidents FINAL), (SELECT count() FROM dispositions FINAL)").Scan(&incidents, &dispositions))
	if incidents != 1 || dispositions != 1 {
		t.Errorf("%d incidents and %d dispositions, want one of each", incidents, dispositions)
	}
	if c := counts(t, k.s); c.Actions != 20 {
		t.Errorf("%d actions, want 20", c.Actions)
	}

	// A stream that has forgotten its beginning gives back what it has, and says so.
	st, err := k.js.Stream(t.Context(), command.Actions)
	k.must(err)
	less := st.CachedInfo().Config
	less.MaxMsgs = 20
	_, err = k.js.UpdateStream(t.Context(), less)
	k.must(err)
	k.exec("DELETE FROM audit WHERE seq < 3")
	_, whole, err := k.s.restore(t.Context(), o, "audit", nil)
	k.must(err)
	if whole(part{}) {
		t.Error("an audit log without its first row is taken for whole")
	}
}
