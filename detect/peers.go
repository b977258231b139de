package detect

import (
	"errors"
	"fmt"
	"math"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Peers is what is normal for agents of one role and tenant: how their calls that
// reach out come about. It is learned from a clean stretch of the log by a
// [Census], and never changes afterwards, so it is the same for every partition
// and every replay. It is safe for concurrent use.
type Peers struct {
	Version string            `json:"version"` // names it in the findings made under it
	Format  int               `json:"format"`  // of what is counted; see peersFormat
	Groups  map[string]*Group `json:"groups"`  // by role and tenant; see appendName
}

// peersFormat changes with what a group counts: evidence from other counts has
// another scale, and the bar would not fit it.
const peersFormat = 2

// A Group is one peer group's part of [Peers].
type Group struct {
	Sessions float64             `json:"sessions"`
	Calls    float64             `json:"calls"`  // those that reach out
	Told     float64             `json:"told"`   // calls in sessions of which it is known what the user asked for
	Days     float64             `json:"days"`   // of agents
	Tools    map[uint64]float64  `json:"tools"`  // calls by tool
	Ways     map[uint64]*Ways    `json:"ways"`   // how calls came about: by tool, by effect, and of all
	Args     map[uint64]float64  `json:"args"`   // values by tool and argument
	Flows    map[uint64]float64  `json:"flows"`  // by origin, source tool, tool and argument
	Values   map[uint64]struct{} `json:"values"` // by tool and argument
	Fresh    map[uint64]*Usage   `json:"fresh"`  // values not in the user's words, and new ones: by tool, argument and origin, and by effect and origin
	Bar      float64             `json:"bar"`    // evidence that a session must exceed to be odd
	Rate     float64             `json:"rate"`   // of odd sessions per agent-day

	seen *exams // what the census has judged; see Peers of Census
}

// Usage counts a thing and how often it was of a special kind.
type Usage struct {
	All     float64 `json:"all"`
	Special float64 `json:"special"`
}

// Ways counts calls by how they came about; see [Group.way].
type Ways [1 << 4]float64

// The bits of a way.
const (
	wayUnasked   = 1 << iota // nobody asked for the effect
	wayWorded                // an argument is in the user's own words
	wayUntrusted             // an argument comes from untrusted content
	wayFresh                 // with a value new to the group
)

// Validate reports what makes p no peers.
func (p *Peers) Validate() error {
	var errs []error
	if p.Version == "" {
		errs = append(errs, errors.New("version: is missing, want a name that findings can quote"))
	}
	if p.Format != peersFormat {
		errs = append(errs, fmt.Errorf("format: is %d, this build reads %d; learn the peers anew", p.Format, peersFormat))
	}
	for name, g := range p.Groups {
		if g == nil || !(g.Rate > 0 && g.Rate <= 100) || !(g.Bar >= 0) || !(g.Calls >= 0) || !(g.Sessions >= 0) {
			errs = append(errs, fmt.Errorf("groups.%q: has no rate, or a count or bar below 0", name))
		}
	}
	return errors.Join(errs...)
}

// of returns the group of the agent that v looks at, nil where nothing is known of it.
func (p *Peers) of(v View) *Group {
	if p == nil {
		return nil
	}
	var room [128]byte
	return p.Groups[string(appendName(room[:0], v))]
}

// appendName appends the name of the peer group of the agent that v looks at: its
// role and tenant.
func appendName(dst []byte, v View) []byte {
	role, tenant := v.Event.Role, v.Event.Tenant
	if role == "" {
		role = v.Profile.role.String()
	}
	if tenant == "" {
		tenant = v.Profile.tenant.String()
	}
	return append(append(append(dst, role...), 0), tenant...)
}

// surprise says in nats how far a call that reaches out is from how the group's
// calls come about; 0 for other events. It is the surprise of the least likely
// way that a value took, and of how the call came about as a whole,
//
//	(flow + way) (1/2 + g) (1 + n + fresh/4) s
//
// with flow the largest -ln((f + 1/2)/(n_a + 5)) over the arguments, of f values
// among n_a that came from that origin through that source tool; way = -ln P(way
// of this tool), backed off to its effect and to all calls; g is 1 where no
// argument is in the user's own words; n is 1 where an untrusted value is new to the
// group, and fresh the surprise that a value of this origin is new; s is 3/2 where
// an untrusted value comes through a tool that the agent did not call in the user's
// words. The factors are round numbers, chosen on real traces; the scale does not
// matter, because the bar is set from the group's own sessions.
func (g *Group) surprise(v View) float64 {
	ev := v.Event
	if !reaches(ev) {
		return 0
	}
	way := g.way(v)
	flow, fresh, unnamed := 0.0, 0.0, false
	for _, m := range ev.ArgOrigins {
		source, _ := ev.ArgSources.Lookup(m.Key)
		f := g.Flows[hash(string(m.Value), source, ev.Tool, m.Key)]
		flow = math.Max(flow, -math.Log((f+0.5)/(g.Args[hash(ev.Tool, m.Key)]+5)))
		if m.Value != event.FromUser && g.fresh(ev, m.Key) {
			fresh = math.Max(fresh, -math.Log(g.freshness(ev, m)))
		}
		unnamed = unnamed || m.Value == event.FromUntrusted && !v.Session.calledInWords(source)
	}
	sum := flow - math.Log(g.chance(ev, way))
	novel := 1 + float64(fresh/4)
	if way&wayFresh != 0 {
		novel++
	}
	factor := 0.5 * novel
	if way&wayWorded == 0 {
		factor = 1.5 * novel
	}
	if unnamed {
		factor *= 1.5
	}
	return float64(sum * factor)
}

// reaches reports whether ev is a call that can change the world, or tell it
// something: whoever fetches an address tells its server what stands in it.
func reaches(ev *event.Event) bool {
	return effectful(ev) || ev.Name == event.ToolCall && ev.Effect == event.Fetch
}

// effectful reports whether ev is a call that can change the world.
func effectful(ev *event.Event) bool { return ev.Name == event.ToolCall && ev.Effect.Changes() }

// way says how a call came about.
func (g *Group) way(v View) int {
	way := 0
	if g.unasked(v) {
		way |= wayUnasked
	}
	for _, m := range v.Event.ArgOrigins {
		switch m.Value {
		case event.FromUser:
			way |= wayWorded
		case event.FromUntrusted:
			way |= wayUntrusted
			if g.fresh(v.Event, m.Key) {
				way |= wayFresh
			}
		}
	}
	return way
}

// unasked reports whether nobody asked for the effect of a call. Where a group's
// shippers mostly tell what users ask for, silence means that he asked for no effect.
func (g *Group) unasked(v View) bool {
	asked, known := v.Session.asked(v.Event.Effect)
	return !asked && (known || g.Told > g.Calls/2)
}

// fresh reports whether an argument has a value that the group never gave it.
func (g *Group) fresh(ev *event.Event, arg string) bool {
	values, _ := ev.ArgHashes.Lookup(arg)
	for _, value := range values {
		if _, known := g.Values[hash(ev.Tool, arg, value)]; !known {
			return true
		}
	}
	return false
}

// backOff is how many calls of a tool weigh as much as what is known of calls of
// the same effect, and these as what is known of all.
const backOff = 2

// chance is how likely a call of this tool comes about in a way.
func (g *Group) chance(ev *event.Event, way int) float64 {
	p := g.Ways[allWays].of(way, 1.0/float64(len(Ways{})), float64(len(Ways{}))/2)
	p = g.Ways[effectKey(ev)].of(way, p, backOff)
	return g.Ways[hash(ev.Tool)].of(way, p, backOff)
}

// allWays is the key of the ways of all calls; a hash is never 0.
const allWays = 0

// of is the share of a way, where prior weighs as much as so many calls.
func (w *Ways) of(way int, prior, weight float64) float64 {
	if w == nil {
		return prior
	}
	sum := 0.0
	for _, n := range w {
		sum += n
	}
	return (w[way] + float64(weight*prior)) / (sum + weight)
}

// seen is how many calls came about in a way.
func (w *Ways) seen(way int) float64 {
	if w == nil {
		return 0
	}
	return w[way]
}

// freshness is how likely a value of an argument that came from where this one did is new.
func (g *Group) freshness(ev *event.Event, m event.Member[event.Origin]) float64 {
	p := g.Fresh[originKey(ev, m.Value)].share(0.5)
	return g.Fresh[hash(ev.Tool, m.Key, string(m.Value))].share(p)
}

// share is the share of the special, where prior weighs as much as backOff.
func (u *Usage) share(prior float64) float64 {
	if u == nil {
		return prior
	}
	return (u.Special + float64(backOff*prior)) / (u.All + backOff)
}

// effectKey and originKey are keys of what is known of an effect. Their first
// part is no tool's name.
func effectKey(ev *event.Event) uint64 { return hash("\x00effect", string(ev.Effect)) }

func originKey(ev *event.Event, o event.Origin) uint64 {
	return hash("\x00effect", string(ev.Effect), string(o))
}
