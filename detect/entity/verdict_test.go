package entity_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// monday is when the agents of these tests begin.
var monday = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// sharing has a hundred agents use tokens of two issuers for 140 days, and every other week one
// of each take that of another. It returns on which days that is found, by issuer. Each finding
// about the first issuer is judged as verdicts says, in words of its operation.
func sharing(t *testing.T, verdicts func(nth int) []string) map[string][]int {
	t.Helper()
	e := entity.New(detect.DefaultRules())
	tell := func(day, agent int, token, issuer string) []detect.Finding {
		at := event.At(monday.Add(time.Duration(day)*24*time.Hour + time.Duration(agent)*time.Minute))
		return e.Observe(&detect.Fact{Kind: detect.CredentialFact, Entity: token, Time: at, Event: fmt.Sprint(day, agent, token), Agent: fmt.Sprint("a", agent),
			Role: "clerk", Known: day > 1, Credential: detect.Credential{ID: token, Issuer: issuer}})
	}
	found := map[string][]int{}
	for day := range 140 {
		for agent := range 100 {
			tell(day, agent, fmt.Sprintf("%d of %d", agent, day), []string{"idp-1", "idp-2"}[agent%2])
		}
		if day < 20 || day%14 != 0 {
			continue
		}
		for i, issuer := range []string{"idp-1", "idp-2"} {
			thief := (day*2 + 10 + i) % 100
			for _, f := range tell(day, thief, fmt.Sprintf("%d of %d", (thief+4)%100, day), issuer) {
				found[issuer] = append(found[issuer], day)
				if issuer != "idp-1" {
					continue
				}
				for n, verb := range verdicts(len(found[issuer])) {
					judged := detect.Fact{Kind: detect.CredentialFact, Entity: f.Novel[0], Time: f.Time, Event: fmt.Sprint("verdict", n, " on ", f.ID), Agent: f.Agent,
						Deed: detect.Judged, Tool: f.Detector, Hash: verb}
					if more := e.Observe(&judged); len(more) > 0 {
						t.Errorf("a verdict has led to %+v", more)
					}
				}
			}
		}
	}
	return found
}

// TestVerdictOnWhatIsShared holds what verdicts come to, and that they come to no more.
func TestVerdictOnWhatIsShared(t *testing.T) {
	all := []int{28, 42, 56, 70, 84, 98, 112, 126}
	f := func(name string, want []int, verdicts func(nth int) []string) {
		t.Helper()
		got := sharing(t, verdicts)
		if diff := cmp.Diff(map[string][]int{"idp-1": want, "idp-2": all}, got); diff != "" {
			t.Errorf("%s: days on which sharing is found (-want +got):\n%s", name, diff)
		}
	}
	once := func(verbs ...string) func(int) []string {
		return func(nth int) []string {
			if nth > 1 {
				return nil
			}
			return verbs
		}
	}
	f("no verdict", all, once())
	f("all false", []int{28, 42, 56}, func(int) []string { return []string{"false_positive"} })
	f("the first false", all, once("false_positive"))
	f("the first false many times over, until that is forgotten", []int{28, 42, 126}, once("false_positive", "false_positive", "false_positive", "false_positive", "false_positive", "false_positive"))
	f("taken back", all, once("false_positive", "withdraw_false_positive"))
	f("ended by a true one", all, once("false_positive", "true_positive"))
	f("all true", all, func(int) []string { return []string{"true_positive"} })
	f("unknown words", all, once("nonsense", ""))
}

// TestVerdictsTrueComeLate has two findings about one issuer, weeks apart, called true after both:
// nothing is left of what they made the issuer be expected to do.
func TestVerdictsTrueComeLate(t *testing.T) {
	rate := func(verdicts int) (p float64) {
		e := entity.New(detect.DefaultRules())
		tell := func(day, agent int, token string) []detect.Finding {
			at := event.At(monday.AddDate(0, 0, day).Add(time.Duration(agent) * time.Minute))
			return e.Observe(&detect.Fact{Kind: detect.CredentialFact, Entity: token, Time: at, Event: fmt.Sprint(day, agent, token), Agent: fmt.Sprint("a", agent),
				Known: day > 1, Credential: detect.Credential{ID: token, Issuer: "idp"}})
		}
		for day := range 90 {
			for agent := range 100 {
				tell(day, agent, fmt.Sprintf("%d of %d", agent, day))
			}
			if day != 40 && day != 60 && day != 80 {
				continue
			}
			found := tell(day, 50, fmt.Sprint("7 of ", day))
			if len(found) != 1 {
				t.Fatalf("day %d: found %+v, want that a token is shared", day, found)
			}
			p = found[0].PValue
			for n := range verdicts {
				if day == 60 {
					e.Observe(&detect.Fact{Kind: detect.CredentialFact, Entity: found[0].Novel[0], Time: found[0].Time, Event: fmt.Sprint("verdict", n), Agent: "a50",
						Deed: detect.Judged, Tool: found[0].Detector, Hash: "true_positive"})
				}
			}
			if verdicts > 2 { // crowds are counted otherwise
				e.Observe(&detect.Fact{Kind: detect.CredentialFact, Entity: detect.Unit(detect.CredentialFact, detect.CrowdDetector, "idp"), Time: found[0].Time,
					Event: "crowd", Agent: "a50", Deed: detect.Judged, Tool: detect.CrowdDetector, Hash: "withdraw_true_positive"})
			}
		}
		return p
	}
	none, one, both, more := rate(0), rate(1), rate(2), rate(3)
	if !(none > one && one > 3*both) || both != more {
		t.Errorf("the next is expected %.2g times a day without a verdict, %.2g with one, %.2g with both, %.2g with one more; want less with each, and no less than with both", none, one, both, more)
	}
}
