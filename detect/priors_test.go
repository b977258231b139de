package detect

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// populace draws agents whose rates of surprises have a known prior, from the second
// day of their lives on, and counts what a census would.
func populace(src rand.Source, agents, days int, truth Prior) *lives {
	l := &lives{at: map[uint64]int{}}
	for range agents {
		var a life
		steady := distuv.Gamma{Alpha: truth.A, Beta: truth.B, Src: src}.Rand()
		for age := 1; age <= days; age++ {
			at := int(math.Log2(float64(age)))
			a.exposed[at].days++
			a.exposed[at].youth += 1 / float64(age)
			if rate := steady + truth.Youth/float64(age); rate > 0 {
				n := distuv.Poisson{Lambda: rate, Src: src}.Rand()
				a.odd[0] += uint8(n)
				l.surprises[0][at] += n
			}
		}
		l.agents = append(l.agents, a)
	}
	return l
}

// TestPriorsAreFound draws populations from priors by gonum, and looks whether the fit
// finds them again from a parent that is far off.
func TestPriorsAreFound(t *testing.T) {
	src := rand.NewPCG(3, 4)
	parent := Prior{A: .05, B: 45, Youth: .01}
	for _, truth := range []Prior{{A: .05, B: 45, Youth: .01}, {A: .4, B: 40, Youth: .2}, {A: 2, B: 200, Youth: .1}, {A: .02, B: 20, Youth: .001}} {
		var m moments
		m.add(populace(src, 4000, 60, truth), 0)
		got := m.fit(parent)
		mean, want := got.A/got.B, truth.A/truth.B
		t.Logf("%+v fitted as %.3g surprises in %.3g days, youth %.3g", truth, got.A, got.B, got.Youth)
		if mean < want*.8 || mean > want*1.25 || got.Youth > 2*truth.Youth+.005 || got.Youth < truth.Youth/2-.005 || got.A < truth.A*.5 || got.A > truth.A*2 {
			t.Errorf("fitted %+v, want near %+v", got, truth)
		}
	}
}

// TestFewAgentsAreBelievedLittle has a group of one busy agent, one of quiet ones, and
// one that nobody lived in.
func TestFewAgentsAreBelievedLittle(t *testing.T) {
	parent := Prior{A: .05, B: 45, Youth: .01}
	rate := func(p Prior) float64 { return p.A / p.B }
	var none moments
	if got := none.fit(parent); got != parent {
		t.Errorf("a group without agents: %+v, want the parent's", got)
	}
	f := func(agents, surprises int, least, most float64) {
		t.Helper()
		l := &lives{at: map[uint64]int{}}
		for i := range agents {
			a := life{}
			a.exposed[3] = exposure{13, 1.2}
			if i < surprises {
				a.odd[0], l.surprises[0][3] = 1, l.surprises[0][3]+1
			}
			l.agents = append(l.agents, a)
		}
		var m moments
		m.add(l, 0)
		got := m.fit(parent)
		if times := rate(got) / rate(parent); times < least || times > most || !got.proper() {
			t.Errorf("%d surprises of %d agents in a fortnight: %+v, %.2f times the parent's rate, want %g to %g", surprises, agents, got, times, least, most)
		}
	}
	f(1, 1, 1, 1.5)
	f(5, 0, 0.9, 1)
	f(5, 5, 1.5, 3)
	f(1000, 0, 0.01, 0.2)
	f(1000, 1000, 40, 80)
}

// TestAnAgentUnderAttackCountsLittle lets one agent surprise all the time.
func TestAnAgentUnderAttackCountsLittle(t *testing.T) {
	l := lives{at: map[uint64]int{}}
	p := Profile{vouched: true, first: instantOf(start)}
	for i := range 1000 {
		ev := &event.Event{Agent: "a", Time: start + event.Timestamp(i)*event.Timestamp(time.Hour)}
		p.last = instantOf(ev.Time)
		l.take(View{&sight{Event: ev, Profile: &p}}, 1, time.Hour)
		if i == 23 && l.agents[0].odd[0] != 1 {
			t.Errorf("%d surprises counted on one day, want 1", l.agents[0].odd[0])
		}
	}
	sum := 0.0
	for _, n := range l.surprises[0] {
		sum += n
	}
	if l.agents[0].odd[0] != mostSurprises || sum != mostSurprises {
		t.Errorf("%d and %.0f surprises of one agent counted, want %d", l.agents[0].odd[0], sum, mostSurprises)
	}
	if days := 1000.0 / 24; math.Abs(sumDays(l.agents[0])-days) > 1e-6 {
		t.Errorf("exposed for %.2f days, want %.2f", sumDays(l.agents[0]), days)
	}
}

func sumDays(a life) (days float64) {
	for _, e := range a.exposed {
		days += e.days
	}
	return days
}

// TestPriorsOfPeersAreInForce asks about a first use of an agent whose peers have priors of their own.
func TestPriorsOfPeersAreInForce(t *testing.T) {
	rules := DefaultRules()
	of := func(peers *Peers) float64 {
		e := New(rules)
		e.UsePeers(peers)
		p := Profile{vouched: true, first: instantOf(start), last: instantOf(start + event.Timestamp(10*24*time.Hour))}
		v := e.view(&event.Event{Agent: "a", Role: "clerk", Time: start, Privilege: "mail:send", Effect: event.Send}, &p)
		v.occasions = occasions(v)
		return FirstUse{Prior{A: .05, B: 45, Youth: .01}}.Judge(v).Rate
	}
	rate := .05/45 + .001
	group := &Group{Rate: .002, Priors: map[string]Prior{"first_use": {A: .3, B: 30, Youth: .1}}}
	peers := &Peers{Version: "p", Format: peersFormat, Groups: map[string]*Group{"clerk\x00": group}}
	for _, tt := range []struct {
		peers *Peers
		want  float64
	}{{nil, rate}, {peers, .02}, {&Peers{Groups: map[string]*Group{"clerk\x00": {Rate: .002}}}, rate}, {&Peers{Groups: map[string]*Group{"scribe\x00": group}}, rate}} {
		if got := of(tt.peers); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("rate %.5f, want %.5f", got, tt.want)
		}
	}
	if err := peers.Validate(); err != nil {
		t.Error(err)
	}
	group.Priors["first_use"] = Prior{A: 1}
	if err := peers.Validate(); err == nil || !strings.Contains(err.Error(), `groups."clerk\x00".priors.first_use: is 1 surprises in 0 days`) {
		t.Errorf("error %v, want the prior refused", err)
	}
}

// TestACensusGivesPriors holds that every group gets them, from what its agents showed,
// and the same ones each time.
func TestACensusGivesPriors(t *testing.T) {
	var first string
	for range 5 {
		e, _ := censused(t)
		g := e.peers.Groups["clerk\x00"]
		if g == nil || !g.Priors["first_use"].proper() || !g.Priors["provenance"].proper() {
			t.Fatalf("priors %+v, want some of first_use and provenance", g)
		}
		text, err := json.Marshal(e.peers)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(text)
		}
		if string(text) != first {
			t.Error("the same events give other peers")
		}
	}
}

// BenchmarkFit is what one prior takes of the end of a census.
func BenchmarkFit(b *testing.B) {
	l := populace(rand.NewPCG(3, 4), 1000, 14, Prior{A: .05, B: 45, Youth: .01})
	b.ReportAllocs()
	for b.Loop() {
		var m moments
		m.add(l, 0)
		m.fit(Prior{A: .05, B: 45, Youth: .01})
	}
}
