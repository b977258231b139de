package triage

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
	"github.com/stakeout-project/stakeout/triage/executor"
)

func riskFinding(n int, detector string, p float64, s detect.Severity, at time.Duration, atlas ...string) *detect.Finding {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	return &detect.Finding{ID: fmt.Sprint(detector, n), Detector: detector, PValue: p, Level: 1e-3, Severity: s, Time: event.At(start.Add(at)), Agent: "a", ATLAS: atlas}
}

func TestRiskIsTheFormula(t *testing.T) {
	day := 24 * time.Hour
	drift := riskFinding(1, "drift", math.Exp(-8), detect.High, 0, "AML.T0053")
	f := func(name string, want float64, policy RiskPolicy, later time.Duration, found ...*detect.Finding) {
		t.Helper()
		r := risk{Agent: "a"}
		for _, x := range found {
			r.count(x, 0, "")
		}
		got := r.score(policy, event.At(drift.Time.Time().Add(later))).Score
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: risk is %v, want %v", name, got, want)
		}
	}
	score := func(raw float64) float64 { return 100 * (1 - math.Exp(-raw/30)) }
	f("nothing", 0, RiskPolicy{}, 0)
	f("one finding", score(8*1.5), RiskPolicy{}, 0, drift)
	f("the same again", score(12), RiskPolicy{}, 0, drift, drift)
	f("half of it after three days", score(6), RiskPolicy{}, 3*day, drift)
	f("evidence is bounded", score(12*2), RiskPolicy{}, 0, riskFinding(1, "drift", 1e-300, detect.Critical, 0))
	f("without a p-value the budget's level stands in", score(-math.Log(1e-3)), RiskPolicy{}, 0, riskFinding(1, "drift", 0, detect.Medium, 0))
	breach, unlisted := riskFinding(1, BreachDetector, 0, detect.Critical, 0), riskFinding(1, "supply_chain", 0, detect.High, 0)
	breach.Level, unlisted.Level, unlisted.Observed = 0, 0, "model atlas-9 by billing-7"
	f("a broken stop is as strong as evidence can be", score(12*2), RiskPolicy{}, 0, breach)
	f("and so is a broken rule", score(12*1.5), RiskPolicy{}, 0, unlisted)
	f("criticality", score(12*3), RiskPolicy{Criticality: []Criticality{{Agents: []string{"pay*"}, Factor: 9}, {Agents: []string{"a"}, Factor: 3}}}, 0, drift)
	f("one noisy detector adds up", score(24), RiskPolicy{}, 0, drift, riskFinding(2, "drift", math.Exp(-8), detect.High, 0, "AML.T0053"))
	second := riskFinding(1, "memory", math.Exp(-4), detect.High, 0, "AML.T0080.000")
	f("two detectors, two stages", score((12+6/math.Pow(2, 1.5))*1.5), RiskPolicy{}, 0, drift, second)
	f("stages are forgotten after a week", score((12+6/math.Pow(2, 1.5))*math.Exp2(-8./3)), RiskPolicy{}, 8*day, drift, second)
}

// TestRiskKnowsNoOrder counts the same findings in many orders.
func TestRiskKnowsNoOrder(t *testing.T) {
	var all []*detect.Finding
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		all = append(all, riskFinding(i, fmt.Sprint("d", i%5), random.Float64()/10, detect.Severity(1+i%5), time.Duration(random.Int64N(int64(9*24*time.Hour))), "AML.T0053", "AML.T0080"))
	}
	var first float64
	for range 50 {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		var r risk
		for _, f := range all {
			r.count(f, 0, "")
		}
		got := r.score(RiskPolicy{}, 0).Score
		if first == 0 {
			first = got
		}
		if math.Abs(got-first) > 1e-9 {
			t.Fatalf("risk is %v in one order and %v in another", first, got)
		}
	}
}

func TestRiskFallsWhenItSays(t *testing.T) {
	var r risk
	for i := range 4 {
		r.count(riskFinding(i, fmt.Sprint("d", i), 1e-6, detect.High, time.Duration(i)*time.Hour, []string{"AML.T0053", "AML.T0080", "AML.T0086"}[i%3]), 0, "")
	}
	now, levels := r.Time, []command.RiskLevel{r.score(RiskPolicy{}, r.Time).Level}
	for range 20 {
		due := r.falls(RiskPolicy{}, now)
		if due == 0 {
			break
		}
		if due <= now {
			t.Fatalf("falls at %s, which is not after %s", due, now)
		}
		if early := r.score(RiskPolicy{}, due-event.Timestamp(time.Second)).Level; early != levels[len(levels)-1] {
			t.Errorf("level is %s a second before it falls, want %s", early, levels[len(levels)-1])
		}
		if l := r.score(RiskPolicy{}, due).Level; l != levels[len(levels)-1] {
			levels = append(levels, l)
		}
		now = due
	}
	if got := fmt.Sprint(levels); got != "[high medium low]" {
		t.Errorf("levels are %s", got)
	}
}

func TestRiskIsBounded(t *testing.T) {
	var r risk
	for i := range 1000 {
		f := riskFinding(i, strings.Repeat("x", 2000)+fmt.Sprint(i), 1e-9, detect.Low, time.Duration(i)*time.Minute)
		r.count(f, 0, strings.Repeat("e", 128))
	}
	if len(r.Sums) > maxDetectors || len(r.Last) > maxHistory {
		t.Errorf("%d sums and %d findings", len(r.Sums), len(r.Last))
	}
}

// TestRiskOfAgentAndParents lets triage judge a delegate three hops down, and
// looks at what enforcement points read of everybody above it.
func TestRiskOfAgentAndParents(t *testing.T) {
	w := newWorld(t)
	tr := w.triage()
	w.run(tr.Run)
	spawned := func(agent, parent string, n int) detect.Finding {
		f := w.finding(agent, n)
		f.Parent, f.PValue, f.Level, f.ATLAS = parent, 1e-5, 1e-3, []string{"AML.T0053"}
		return f
	}
	// Who spawned whom becomes known from findings about those in between.
	w.must(w.feed(tr, spawned("c", "b", 1), spawned("b", "a", 1), spawned("d", "c", 1), spawned("e", "d", 1)))
	want := map[string]float64{}
	base := -math.Log(1e-5) * 1.5
	h := math.Pow(2, 1.5)
	want["e"] = base
	want["d"] = base + .5*base/h
	want["c"] = base + (.5+.25)*base/h
	want["b"] = base + (.5+.25+.125)*base/h // of c, of d, of e
	want["a"] = (.5 + .125) * base          // of b and of d; c came before b's parent was known, e is four hops away
	for agent, sum := range want {
		w.eventually(func() error {
			p := w.posture(agent)
			if p.Risk == nil {
				return fmt.Errorf("posture of %s has no risk", agent)
			}
			if got := command.RiskSum(p.Risk.Score); math.Abs(got-sum) > .01 {
				return fmt.Errorf("risk of %s sums to %v, want %v", agent, got, sum)
			}
			return nil
		})
	}
	if p := w.posture("a"); len(p.Holds) != 0 {
		t.Errorf("an agent that nothing was found of is held: %+v", p)
	}
	for _, c := range w.history().cases {
		if c.Incident.Risk == nil || c.Incident.Risk.Score < 40 {
			t.Errorf("incident of %s says risk %+v", c.Incident.Agent, c.Incident.Risk)
		}
	}
	// Spawned by itself, and in a ring: counted once.
	w.must(w.feed(tr, spawned("x", "x", 1), spawned("y", "z", 1), spawned("z", "y", 1)))
	if p := w.posture("x"); math.Abs(command.RiskSum(p.Risk.Score)-base) > .01 {
		t.Errorf("risk of an agent that spawned itself is %+v", p.Risk)
	}
}

// TestRiskLevelIsSignalled follows a level up, and down again when time passes.
func TestRiskLevelIsSignalled(t *testing.T) {
	w := newWorld(t)
	w.signalsRisk = true
	tr := w.triage()
	w.run(tr.Run)
	w.run(w.executor(w.oauth(), w.pager(), executor.NewNote(command.RiskChange, w.quiet())).Run)
	for i := range 5 {
		f := w.finding("a", i)
		f.Detector, f.PValue, f.ATLAS = fmt.Sprint("d", i), 1e-6, []string{[]string{"AML.T0053", "AML.T0080"}[i%2]}
		w.must(w.feed(tr, f, f))
	}
	levels := func() string {
		told := w.history().outcomes
		slices.SortStableFunc(told, func(a, b command.Outcome) int { return cmp.Compare(a.Action.Decided, b.Action.Decided) }) // executors have several hands
		var all []string
		for _, o := range told {
			if o.Action.Kind == command.RiskChange && o.Status == command.Verified {
				all = append(all, fmt.Sprintf("%s>%s", o.Action.Risk.Previous, o.Action.Risk.Level))
			}
		}
		return strings.Join(all, " ")
	}
	wantLevels := func(want string) {
		t.Helper()
		w.eventually(func() error {
			if got := levels(); got != want {
				return fmt.Errorf("levels are %q, want %q", got, want)
			}
			return nil
		})
	}
	wantLevels("low>medium medium>high")
	if got := testutil.ToFloat64(tr.metrics.riskChanges.WithLabelValues("high")); got != 1 {
		t.Errorf("%v came to high, want 1", got)
	}
	w.ahead.Store(int64(30 * 24 * time.Hour))
	wantLevels("low>medium medium>high high>low")
	w.eventually(func() error {
		if p := w.posture("a"); p.Risk.Level != command.RiskLow {
			return fmt.Errorf("posture says %+v", p.Risk)
		}
		return nil
	})
	w.wantOnce()
}
