package entity_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// claims are the findings of an engine, each by its id: who is blamed for which
// event. A changed tool is found once, on whoever is heard of first.
func claims(found []detect.Finding) map[string]string {
	all := map[string]string{}
	for _, f := range found {
		all[f.ID] = f.Detector
		if f.Detector != detect.ToolDefinitionDetector {
			all[f.ID] += " " + f.Agent + " " + f.Event
		}
	}
	return all
}

func observe(e *entity.Engine, facts []detect.Fact) (found []detect.Finding) {
	for i := range facts {
		found = append(found, e.Observe(&facts[i])...)
	}
	return found
}

// TestOrderDoesNotMatter gives the facts of the agents of a story in other orders,
// each agent's in its own, and some of them twice: the same claims.
//
// The stories about habits are not among them: what is usual there depends on what has
// come so far. Nor are those in which a fact takes the suspicion away from another,
// a delegation, a clean version, a second server: it must have come before.
func TestOrderDoesNotMatter(t *testing.T) {
	all := stories(t)
	for _, name := range []string{"shared_credential_fires", "shared_credential_unseen_owner", "tool_rug_pull_fires", "tool_deployed",
		"tool_shadowing_fires", "tool_bad_from_the_start", "record_fires", "record_laundered", "lineage_fires"} {
		t.Run(name, func(t *testing.T) {
			inOrder := facts(t, all[name])
			want := claims(observe(entity.New(detect.DefaultRules()), inOrder))
			for seed := range uint64(50) {
				rng := rand.New(rand.NewPCG(seed, 1))
				got := claims(observe(entity.New(detect.DefaultRules()), interleave(rng, inOrder)))
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Fatalf("seed %d: claims (-in order +shuffled):\n%s", seed, diff)
				}
			}
		})
	}
}

// interleave keeps the order of each agent's facts, and repeats some runs of them.
func interleave(rng *rand.Rand, facts []detect.Fact) []detect.Fact {
	queues := map[string][]detect.Fact{}
	for _, f := range facts {
		queues[f.Agent] = append(queues[f.Agent], f)
	}
	agents := slices.Sorted(maps.Keys(queues))
	for _, a := range agents {
		q := queues[a]
		at, n := rng.IntN(len(q)), rng.IntN(5)
		queues[a] = slices.Concat(q[:at], q[max(at-n, 0):at], q[at:])
	}
	var out []detect.Fact
	for len(agents) > 0 {
		i := rng.IntN(len(agents))
		q := queues[agents[i]]
		out = append(out, q[0])
		if queues[agents[i]] = q[1:]; len(q) == 1 {
			agents = slices.Delete(agents, i, i+1)
		}
	}
	return out
}

// TestNothingIsFoundTwice gives all facts of a story to a second engine that has
// learned them already, as one does that takes over a partition and is sent them again.
func TestNothingIsFoundTwice(t *testing.T) {
	for name, story := range stories(t) {
		t.Run(name, func(t *testing.T) {
			told := facts(t, story)
			first := entity.New(detect.DefaultRules())
			want := claims(observe(first, told))
			if again := observe(first, told); len(again) > 0 {
				t.Errorf("told again, %d findings more: %v", len(again), claims(again))
			}
			for cut := range 4 {
				at := len(told) * cut / 4
				second := entity.New(detect.DefaultRules())
				got := claims(observe(second, told[:at]))
				for id, c := range claims(observe(second, told[at/2:])) { // from the last checkpoint on
					got[id] = c
				}
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("taken over after %d of %d facts (-undisturbed +taken over):\n%s", at, len(told), diff)
				}
			}
		})
	}
}

// TestBudget has 200 agents whose issuer's tokens are shared now and then, at
// rates from never to always, for a hundred days: the false findings stay
// within the share of the budget.
func TestBudget(t *testing.T) {
	rules := detect.DefaultRules()
	share := 0.0
	for _, j := range rules.Joint {
		if j.Name == detect.SharedCredentialDetector {
			share = j.Share * rules.Budget
		}
	}
	for _, shared := range []float64{0, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, .3} { // of the tokens
		const agents, days, seeds = 200, 100, 4
		found := 0
		for seed := range uint64(seeds) {
			rng := rand.New(rand.NewPCG(seed, 7))
			e := entity.New(rules)
			start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for day := range days {
				for a := range agents {
					at := start.AddDate(0, 0, day).Add(time.Duration(a) * time.Minute)
					f := token(a, fmt.Sprintf("t-%d-%d", day, a), at, day > 2)
					found += len(e.Observe(&f))
					if rng.Float64() < shared {
						f := token((a+1+rng.IntN(agents-1))%agents, f.Entity, at.Add(time.Hour), day > 2)
						found += len(e.Observe(&f))
					}
				}
			}
		}
		rate := float64(found) / (agents * days * seeds)
		t.Logf("%g of the tokens shared: %d found in %d agent-days, %.2f of the share", shared, found, agents*days*seeds, rate/share)
		if rate > 1.3*share {
			t.Errorf("%g of the tokens shared: %.2g false findings per agent-day, want at most %.2g", shared, rate, share)
		}
	}
}

// TestLineageBudget has 200 agents act, unasked and to new places, on records of sessions
// with content from outside, at rates from never to daily: the false findings stay
// within the share of the budget, as all that a tenant does is counted together.
func TestLineageBudget(t *testing.T) {
	rules := detect.DefaultRules()
	share := 0.0
	for _, j := range rules.Joint {
		if j.Name == detect.LineageDetector {
			share = j.Share * rules.Budget
		}
	}
	for _, rate := range []float64{0, 1e-5, 1e-4, 3e-4, 1e-3, 1e-2, 1} { // of the agents' days
		const agents, days, seeds = 200, 100, 4
		found := 0
		for seed := range uint64(seeds) {
			rng := rand.New(rand.NewPCG(seed, 9))
			e := entity.New(rules)
			start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for day := range days {
				for a := range agents {
					at := start.AddDate(0, 0, day).Add(time.Duration(a) * time.Minute)
					name, record := fmt.Sprint("agent-", a), fmt.Sprintf("r-%d-%d", day, a)
					f := detect.Fact{Kind: detect.RecordFact, Entity: record, Time: event.At(at), Event: record, Agent: name, Session: record,
						Known: day > 2, Deed: detect.Wrote, Store: name, Record: record, Tainted: true}
					found += len(e.Observe(&f))
					if rng.Float64() < rate {
						f.Time, f.Event, f.Session, f.Deed, f.Tainted, f.Astray = event.At(at.Add(time.Hour)), record+"+", record+"+", detect.Acted, false, true
						found += len(e.Observe(&f))
					}
				}
			}
		}
		rated := float64(found) / (agents * days * seeds)
		t.Logf("on %g of the agent-days: %d found in %d, %.2f of the share", rate, found, agents*days*seeds, rated/share)
		if rated > 1.3*share {
			t.Errorf("on %g of the agent-days: %.2g false findings per agent-day, want at most %.2g", rate, rated, share)
		}
	}
}

// TestLineageDecidesForItself has a tenant in which calls on the word of laundered records are
// usual, and are not told. That says nothing of a record that another agent then poisons openly.
func TestLineageDecidesForItself(t *testing.T) {
	e := entity.New(detect.DefaultRules())
	found := map[string]int{}
	tell := func(day int, agent, record string, f detect.Fact) {
		at := event.At(monday.AddDate(0, 0, day))
		f.Kind, f.Entity, f.Record, f.Store, f.Time, f.Agent, f.Known = detect.RecordFact, record, record, "notes", at, agent, true
		f.Event = fmt.Sprint(day, agent, record, f.Deed)
		f.Session = f.Event
		for _, f := range e.Observe(&f) {
			found[f.Detector]++
		}
	}
	for day := range 100 {
		record := fmt.Sprint("r", day)
		if day >= 90 {
			record = "shared"
		}
		tell(2*day, "ann", record, detect.Fact{Deed: detect.Wrote, Tainted: true})
		tell(2*day+1, fmt.Sprint("reader", day), record, detect.Fact{Deed: detect.Acted, Astray: true})
	}
	usual := found[detect.LineageDetector]
	tell(200, "ann", "shared", detect.Fact{Deed: detect.Wrote, Untrusted: true, Tainted: true})
	tell(201, "bob", "shared", detect.Fact{Deed: detect.Acted})
	if want := map[string]int{detect.LineageDetector: usual, detect.RecordDetector: 1}; usual > 5 || !maps.Equal(want, found) {
		t.Errorf("found %v, want %v", found, want)
	}
}

// TestCrewsOfManyAreFollowed has one agent of two hundred in a role announce a build that nobody
// else gets. A part of so many is followed, also where others take their places in time.
func TestCrewsOfManyAreFollowed(t *testing.T) {
	f := func(lasting int, want int) {
		t.Helper()
		found := 0
		for lone := 0; lone < 200; lone += 4 {
			e := entity.New(detect.DefaultRules())
			for day := range 24 {
				for a := range 200 {
					f := detect.Fact{Kind: detect.DeploymentFact, Entity: "clerk", Time: event.At(monday.AddDate(0, 0, day).Add(time.Duration(a) * time.Minute)),
						Event: fmt.Sprintf("e-%d-%d", day, a), Agent: fmt.Sprintf("agent-%d-%d", a, day/lasting), Known: day%lasting > 2, Runs: "1.4"}
					if day == 20 && a == lone {
						f.Runs, f.Deployed = "shadow", true
					}
					for _, f := range e.Observe(&f) {
						if found++; f.Event != fmt.Sprintf("e-20-%d", lone) {
							t.Errorf("found %+v, want the build of agent %d", f, lone)
						}
					}
				}
			}
		}
		if found < want {
			t.Errorf("of agents that stay for %d days found are %d of 50, want %d or more", lasting, found, want)
		}
	}
	f(24, 10)
	f(12, 10)
}

// TestLoneDeploymentBudget has 200 agents of twenty roles get, at rates from never to every
// third day, builds that nobody else does: the false findings stay within the share.
func TestLoneDeploymentBudget(t *testing.T) {
	rules := detect.DefaultRules()
	share := 0.0
	for _, j := range rules.Joint {
		if j.Name == detect.LoneDeploymentDetector {
			share = j.Share * rules.Budget
		}
	}
	for _, rate := range []float64{0, 1e-5, 1e-4, 3e-4, 1e-3, 1e-2, .3} { // of the agents' days
		const agents, roles, days, seeds = 200, 20, 100, 4
		found := 0
		for seed := range uint64(seeds) {
			rng := rand.New(rand.NewPCG(seed, 11))
			e := entity.New(rules)
			start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for day := range days {
				for a := range agents {
					f := detect.Fact{Kind: detect.DeploymentFact, Entity: fmt.Sprint("role-", a%roles), Time: event.At(start.AddDate(0, 0, day).Add(time.Duration(a) * time.Minute)),
						Event: fmt.Sprintf("e-%d-%d", day, a), Agent: fmt.Sprint("agent-", a), Known: day > 2, Runs: fmt.Sprint("1.", day/30)}
					if rng.Float64() < rate {
						f.Runs, f.Deployed = f.Event, true
					}
					found += len(e.Observe(&f))
				}
			}
		}
		rated := float64(found) / (agents * days * seeds)
		t.Logf("on %g of the agent-days: %d found in %d, %.2f of the share", rate, found, agents*days*seeds, rated/share)
		if rated > 1.3*share {
			t.Errorf("on %g of the agent-days: %.2g false findings per agent-day, want at most %.2g", rate, rated, share)
		}
	}
}

func token(agent int, id string, at time.Time, known bool) detect.Fact {
	name := fmt.Sprintf("agent-%d", agent)
	return detect.Fact{Kind: detect.CredentialFact, Entity: id, Time: event.At(at), Event: name + "/" + id, Agent: name, Known: known,
		Credential: detect.Credential{ID: id, Issuer: "https://idp.example"}}
}

// TestEntitiesAreBounded meets more entities than there is room for: those met
// longest ago go, and what is met all the time stays.
func TestEntitiesAreBounded(t *testing.T) {
	e := entity.New(detect.DefaultRules())
	e.SetLimit(100)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 5000 {
		lasting := token(1, "lasting", start.Add(time.Duration(i)*time.Minute), true)
		passing := token(2, fmt.Sprint(i), start.Add(time.Duration(i)*time.Minute), true)
		if found := append(e.Observe(&lasting), e.Observe(&passing)...); len(found) > 0 {
			t.Fatalf("found %v", claims(found))
		}
		if n := e.Entities(); n > 100 {
			t.Fatalf("%d entities, want at most 100", n)
		}
	}
	thief := token(3, "lasting", start.AddDate(0, 0, 4), true)
	if found := e.Observe(&thief); len(found) != 1 {
		t.Errorf("%d findings about what was met all the time, want 1", len(found))
	}
	if e.Stats().Forgotten == 0 {
		t.Error("nothing was forgotten")
	}
}

// TestManySharersOfOneToken counts findings when fifty agents use one token: one
// for each of the seven agents after the first that are told apart, and no more.
func TestManySharersOfOneToken(t *testing.T) {
	e := entity.New(detect.DefaultRules())
	ids := map[string]bool{}
	for round := range 2 {
		for a := range 50 {
			f := token(a, "tok", time.Date(2026, 1, 9, round, a, 0, 0, time.UTC), true)
			for _, f := range e.Observe(&f) {
				if ids[f.ID] {
					t.Errorf("%s is found again", f.Agent)
				}
				ids[f.ID] = true
			}
		}
	}
	if len(ids) != 7 {
		t.Errorf("%d findings, want 7", len(ids))
	}
}

// TestSources has somebody who may write one raw topic tell that his agent used
// the token of another, before that one does: the claim about the victim is not
// the word of the victim's own source.
func TestSources(t *testing.T) {
	day := time.Date(2026, 1, 9, 0, 0, 0, 0, time.UTC)
	f := func(first, second, want string) {
		t.Helper()
		e := entity.New(detect.DefaultRules())
		a, b := token(1, "tok", day, true), token(2, "tok", day.Add(time.Hour), true)
		a.Source, b.Source = first, second
		if found := append(e.Observe(&a), e.Observe(&b)...); len(found) != 1 {
			t.Fatalf("%d findings, want 1", len(found))
		}
		if got := e.Sources(); len(got) != 1 || got[0] != want {
			t.Errorf("told by %q and %q: sources %q, want %q", first, second, got, want)
		}
	}
	f("raw", "raw", "raw")
	f("raw.guests", "raw", "")
	f("", "raw", "")
	f("", "", "")
}

func BenchmarkObserve(b *testing.B) {
	const agents = 10_000
	e := entity.New(detect.DefaultRules())
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		f := token(i%agents, fmt.Sprint("t", i%agents), at.Add(time.Duration(i)*time.Second), true)
		e.Observe(&f)
		i++
	}
}
