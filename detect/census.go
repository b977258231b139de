package detect

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Census gathers [Peers] from the events that an engine observes. It is for
// one goroutine.
type Census struct {
	groups map[string]*Group
}

// NewCensus returns an empty census.
func NewCensus() *Census { return &Census{groups: map[string]*Group{}} }

const (
	maxGroups = 4096
	maxItems  = 1 << 18 // of a kind in a group; what comes later stays unknown, and so looks odd
)

// longestPause is how long an agent without events still counts as one of the
// fleet; the budget is for each day of each agent.
const longestPause = 7 * 24 * time.Hour

// exams are the sessions that a census has judged, each call by those before it.
type exams struct {
	at       map[uint64]int // by session
	evidence []float64      // of a session the largest, in the order in which sessions came
}

func (x *exams) take(session uint64, evidence float64) {
	i, known := x.at[session]
	if !known {
		if len(x.evidence) >= maxItems {
			return
		}
		i = len(x.evidence)
		x.at[session], x.evidence = i, append(x.evidence, 0)
	}
	x.evidence[i] = math.Max(x.evidence[i], evidence)
}

// later is the later half, by when much was known.
func (x *exams) later() []float64 { return x.evidence[len(x.evidence)/2:] }

// of returns the group of the agent that v looks at as the census has it so far, nil where it has none.
func (c *Census) of(v View) *Group {
	if c == nil {
		return nil
	}
	var room [128]byte
	return c.groups[string(appendName(room[:0], v))]
}

// observe learns one event; begun says that it is the first of its session, and
// clean that nothing was found in its session: an attack that was seen is not to
// become the norm.
func (c *Census) observe(v View, begun, clean bool, passed time.Duration) {
	ev := v.Event
	g := c.of(v)
	if g == nil {
		if len(c.groups) >= maxGroups {
			return
		}
		g = &Group{Tools: map[uint64]float64{}, Ways: map[uint64]*Ways{}, Args: map[uint64]float64{}, Flows: map[uint64]float64{},
			Values: map[uint64]struct{}{}, Fresh: map[uint64]*Usage{}, seen: &exams{at: map[uint64]int{}}}
		c.groups[string(appendName(nil, v))] = g
	}
	g.Days += min(passed, longestPause).Hours() / 24
	if begun {
		g.Sessions++
	}
	if !clean {
		return
	}
	session := hash(ev.Agent, ev.Session)
	if ev.Session == "" {
		session = hash(ev.Agent, ev.ID, "")
	}
	g.seen.take(session, v.Evidence)
	if !reaches(ev) {
		return
	}
	if _, known := v.Session.asked(ev.Effect); known {
		g.Told++
	}
	way := g.way(v)
	for _, key := range []uint64{allWays, effectKey(ev), hash(ev.Tool)} {
		if g.Ways[key] == nil && len(g.Ways) < maxItems {
			g.Ways[key] = &Ways{}
		}
		if w := g.Ways[key]; w != nil {
			w[way]++
		}
	}
	g.Calls++
	tally(g.Tools, hash(ev.Tool))
	for _, m := range ev.ArgOrigins {
		source, _ := ev.ArgSources.Lookup(m.Key)
		tally(g.Args, hash(ev.Tool, m.Key))
		tally(g.Flows, hash(string(m.Value), source, ev.Tool, m.Key))
		if m.Value != event.FromUser {
			fresh := g.fresh(ev, m.Key)
			count(g.Fresh, originKey(ev, m.Value), fresh)
			count(g.Fresh, hash(ev.Tool, m.Key, string(m.Value)), fresh)
		}
	}
	for _, m := range ev.ArgHashes {
		for _, value := range m.Value {
			if len(g.Values) < maxItems {
				g.Values[hash(ev.Tool, m.Key, value)] = struct{}{}
			}
		}
	}
}

// tally counts one more of key.
func tally(m map[uint64]float64, key uint64) {
	if m[key] > 0 || len(m) < maxItems {
		m[key]++
	}
}

// count counts one more of key, of the special kind or not.
func count(m map[uint64]*Usage, key uint64, special bool) {
	u := m[key]
	if u == nil {
		if len(m) >= maxItems {
			return
		}
		u = &Usage{}
		m[key] = u
	}
	u.All++
	if special {
		u.Special++
	}
}

// thrift is how much of the rate a detector pays for watching by a group's bar: so
// much less than all that after the longest absence that wealth is saved for there
// is enough left to go on watching. What is expected stays the rate, by the bar.
const thrift = 0.75

// Peers closes the census. The bar of each group is where clean sessions are
// expected beyond it at a rate per agent-day, as far as the later half of the
// sessions tells, each judged by those before it. A census of too few sessions to
// tell has no groups: its agents are held against their own past alone.
func (c *Census) Peers(version string, rate float64) *Peers {
	p := &Peers{Version: version, Format: peersFormat, Groups: map[string]*Group{}}
	var all []float64
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		all = append(all, c.groups[name].seen.later()...)
	}
	tail, ok := tailOf(all)
	if !ok {
		return p
	}
	for name, g := range c.groups {
		sessions := float64(len(g.seen.evidence))
		g.Bar = tail.bar(g.seen.later(), rate*g.Days/sessions)
		g.Rate, g.seen = thrift*rate, nil
		p.Groups[name] = g
	}
	return p
}
