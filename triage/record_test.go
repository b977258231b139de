package triage

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

// FuzzRecord lets anything happen to an action in any order and holds what must
// be true of it all the same.
func FuzzRecord(f *testing.F) {
	f.Add([]byte{0, 1, 5, 9}, true)
	f.Add([]byte{4, 2, 3, 8, 8, 8}, false)
	f.Add([]byte{6, 7, 0, 0, 1, 2, 3}, true)
	f.Fuzz(func(t *testing.T, ops []byte, approve bool) {
		now := time.Date(2026, 1, 19, 10, 0, 0, 0, time.UTC)
		r := record{
			Action: command.Action{Kind: command.RevokeToken},
			Ladder: []Step{{Kind: command.RevokeToken, AckTimeout: time.Minute, Retries: 2, Expires: 10 * time.Minute, Approvers: []string{"op"}}},
		}
		if approve {
			r.move(now, command.Waiting, "", "")
		} else {
			r.move(now, command.Commanded, "", "")
		}
		answers := []command.Status{command.Verified, command.Unverified, command.Failed}
		for _, op := range ops {
			before := r.Status
			switch op % 10 {
			case 0, 1, 2:
				r.answer(now, command.Ack{Status: answers[op%10]}, "ex")
			case 3:
				r.decide(now, command.Approval{Decision: command.Refused}, "op")
			case 4:
				if result, _ := r.decide(now, command.Approval{Decision: command.Approved}, "op"); result == "approved" {
					r.move(now, command.Commanded, "", "")
				}
			case 5:
				if result, _ := r.decide(now, command.Approval{Decision: command.Approved}, "stranger"); result != "not entitled" {
					t.Fatalf("a stranger's decision is %s", result)
				}
			case 6, 7:
				r.tick(now, op%10 == 7)
			case 8:
				if result, changed := r.undo(now, command.Approval{Decision: command.Undo}, "op"); changed != (result == "undone") {
					t.Fatalf("undo is %s, changed %t", result, changed)
				}
			default:
				now = now.Add(time.Duration(op) * time.Second)
			}
			if before == command.Undone && r.Status != command.Undone {
				t.Fatalf("undone became %s", r.Status)
			}
			if before == command.Verified && r.Status != command.Verified && r.Status != command.Undone {
				t.Fatalf("verified became %s", r.Status)
			}
			if slices.Contains([]command.Status{command.Rejected, command.Expired, command.Failed}, before) && r.Status != before && (before != command.Failed || r.Status != command.Undone) {
				t.Fatalf("%s became %s", before, r.Status)
			}
			if r.Attempt > 3 {
				t.Fatalf("asked %d times", r.Attempt)
			}
			if waits := r.Status == command.Waiting || r.Status == command.Commanded; waits != (r.Due != 0) {
				t.Fatalf("%s is due at %s", r.Status, r.Due)
			}
		}
		seen := map[command.Status]bool{}
		for _, c := range r.Log {
			if seen[c.Status] {
				t.Fatalf("was %s twice: %v", c.Status, r.Log)
			}
			seen[c.Status] = true
		}
		for _, s := range []command.Status{command.Unverified, command.Failed, command.Expired} {
			if r.was(s) && !slices.Contains(r.Follow, string(s)) {
				t.Fatalf("%s ended in silence", s)
			}
		}
	})
}

// FuzzFinding takes any bytes as a finding: one that is accepted leads to an
// action that can be told, whatever is in it.
func FuzzFinding(f *testing.F) {
	kp, err := nkeys.CreateAccount()
	if err != nil {
		f.Fatal(err)
	}
	seed, err := kp.Seed()
	if err != nil {
		f.Fatal(err)
	}
	s, err := command.NewSigner(seed)
	if err != nil {
		f.Fatal(err)
	}
	ring := command.Keyring{Triage: []string{s.Public()}}
	policy := autoPolicy()
	f.Add([]byte(`{"id":"x/1","time":"2026-01-19T10:00:00Z","agent":"a","severity_id":4,"credential":{"id":"jti"},"reason":"r"}`))
	f.Add([]byte(`{"id":"x","time":"2026-01-19T10:00:00Z","agent":"\u0000","severity_id":1,"session":"` + "\xff" + `"}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var fi detect.Finding
		if json.Unmarshal(data, &fi) != nil || check(&fi) != nil {
			return
		}
		i := incident{ID: hash(fi.Agent), Findings: []string{fi.ID}, First: fi.Time}
		all := propose(&policy, &i, &fi, new(risk), stamps{}, time.Now())
		if len(all) != 1 {
			t.Fatalf("a policy without conditions proposes %d actions", len(all))
		}
		p := all[0]
		if err := fit(&bus{signer: s}, &p); err != nil {
			t.Fatal(err)
		}
		m, err := command.EncodeAction(s, p.Action, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := command.ParseAction(ring, command.FromMsg(m)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCut(t *testing.T) {
	f := func(s string, n int, want string) {
		t.Helper()
		if got := cut(s, n); got != want {
			t.Errorf("cut(%q, %d) = %q, want %q", s, n, got, want)
		}
	}
	f("short", 10, "short")
	f("exactly ten", 11, "exactly ten")
	f("longer than ten", 10, "longer ...")
	f("äääääää", 10, "äää...")
}
