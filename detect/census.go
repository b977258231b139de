package detect

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Census gathers [Peers] from the events that an engine observes. It is for
// one goroutine.
type Census struct {
	groups map[string]*Group // of one role and tenant
	pools  map[string]*Group // of all of a tenant, and of all
}

// NewCensus returns an empty census.
func NewCensus() *Census { return &Census{groups: map[string]*Group{}, pools: map[string]*Group{}} }

const (
	maxGroups = 4096
	maxItems  = 1 << 18 // of a kind in a group; what comes later stays unknown, and so looks odd
)

// longestPause is how long an agent without events still counts as one of the
// fleet; the budget is for each day of each agent.
const longestPause = 7 * 24 * time.Hour

func newGroup() *Group {
	return &Group{lives: lives{at: map[uint64]int{}}, Tools: map[uint64]float64{}, Jobs: map[uint64]float64{}, Ways: map[uint64]*Ways{}, Args: map[uint64]float64{}, Flows: map[uint64]float64{},
		Values: map[uint64]float64{}, Fresh: map[uint64]*Usage{}, seen: exams{at: map[uint64]int{}}}
}

// exams are the sessions that a census has judged, each call by those before it.
type exams struct {
	at       map[uint64]int // by session
	sessions []exam         // in the order in which they came
}

// An exam is one session: only what was surprising in it.
type exam struct {
	Session
	found bool // something was
}

func (x *exams) take(session uint64, surprise float64, clean bool) {
	i, known := x.at[session]
	if !known {
		if len(x.sessions) >= maxItems {
			return
		}
		i = len(x.sessions)
		x.at[session], x.sessions = i, append(x.sessions, exam{})
	}
	s := &x.sessions[i]
	s.surprises = s.with(surprise)
	s.found = s.found || !clean
}

// later is the evidence in the later half of the sessions, by when much was known.
// Those in which something was found are as many attacks as they are more than the
// false findings that the budget allows: the others, those with the least evidence,
// are clean sessions, and the oddest of them. A tail without them would be too light.
func (g *Group) later(budget float64) []float64 {
	var all, found []float64
	for _, s := range g.seen.sessions[len(g.seen.sessions)/2:] {
		if s.found {
			found = append(found, s.against(0))
		} else {
			all = append(all, s.against(0))
		}
	}
	slices.Sort(found)
	allowed := int(math.Round(budget * g.Days))
	return append(all, found[:min(allowed, len(found))]...)
}

// of returns the group of the agent that v looks at as the census has it so far, nil where it has none.
func (c *Census) of(v View) *Group {
	if c == nil {
		return nil
	}
	role, tenant := peersOf(v)
	var room [128]byte
	return c.groups[string(appendName(room[:0], role, tenant))]
}

// observe learns one event; begun says that it is the first of its session, and
// clean that nothing was found in its session: an attack that was seen is not to
// become the norm. Odd says which detectors it surprised, by their slots.
//
// It learns for the group of the role and for those that bring roles together.
// These judge a call as if its role were new to them, because that is what they
// are asked later.
func (c *Census) observe(v View, begun, clean bool, odd uint16, passed time.Duration) {
	role, tenant := peersOf(v)
	own := c.of(v)
	if own == nil {
		if len(c.groups) >= maxGroups {
			return
		}
		own = newGroup()
		own.tenant = strings.Clone(tenant)
		c.groups[string(appendName(nil, role, tenant))] = own
		c.pool(tenant).Roles++
		if tenant != "" {
			c.pool("").Roles++
		}
	}
	own.lives.take(v, odd, passed)
	c.exam(own, nil, v, begun, clean, passed)
	c.exam(c.pool(tenant), own, v, begun, clean, passed)
	if tenant != "" {
		c.exam(c.pool(""), own, v, begun, clean, passed)
	}
	if !clean || !reaches(v.Event) {
		return
	}
	own.learn(v)
	c.pool(tenant).learn(v)
	if tenant != "" {
		c.pool("").learn(v)
	}
}

// pool returns the group of all of a tenant, without one that of all.
func (c *Census) pool(tenant string) *Group {
	var room [128]byte
	if g := c.pools[string(appendName(room[:0], "", tenant))]; g != nil {
		return g
	}
	g := newGroup()
	c.pools[string(appendName(nil, "", tenant))] = g
	return g
}

// exam lets a group judge an event by what it knows without what one role brought.
func (c *Census) exam(g, less *Group, v View, begun, clean bool, passed time.Duration) {
	g.Days += min(passed, longestPause).Hours() / 24
	if begun {
		g.Sessions++
	}
	if v.Profile.last == 0 {
		g.newcomers++
	}
	session := hash(v.Event.Agent, v.Event.Session)
	if v.Event.Session == "" {
		if !reaches(v.Event) {
			return // a heartbeat is no session
		}
		session = hash(v.Event.Agent, v.Event.ID, "")
	}
	g.seen.take(session, known{g, less}.surprise(v), clean)
}

// learn takes in how a call came about.
func (g *Group) learn(v View) {
	ev := v.Event
	if _, told := v.Session.asked(ev.Effect); told {
		g.Told++
	}
	so := known{group: g}
	way := so.way(v)
	for _, key := range [...]uint64{allWays, effectKey(ev), hash(ev.Tool)} {
		if g.Ways[key] == nil && len(g.Ways) < maxItems {
			g.Ways[key] = &Ways{}
		}
		if w := g.Ways[key]; w != nil {
			w[way]++
		}
	}
	g.Calls++
	tally(g.Tools, hash(ev.Tool))
	tally(g.Jobs, wishKey(v.Session.wish()))
	tally(g.Jobs, choiceKey(v.Session.wish(), ev.Tool))
	for _, m := range ev.ArgOrigins {
		source, _ := ev.ArgSources.Lookup(m.Key)
		tally(g.Args, hash(ev.Tool, m.Key))
		tally(g.Flows, hash(string(m.Value), source, ev.Tool, m.Key))
		if m.Value != event.FromUser {
			fresh := so.fresh(ev, m.Key)
			count(g.Fresh, originKey(ev, m.Value), fresh)
			count(g.Fresh, hash(ev.Tool, m.Key, string(m.Value)), fresh)
		}
	}
	for _, m := range ev.ArgHashes {
		for _, value := range m.Value {
			tally(g.Values, hash(ev.Tool, m.Key, value))
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

// thrift is the part of the share of the budget that a group's rate is: so
// much less than all that after the longest absence that wealth is saved for there is
// something left to go on watching.
const thrift = 0.95

// Peers closes the census, under the rules that it was taken and the peers are to be
// used under. The bar of each group is where clean sessions are expected beyond it
// at its rate per agent-day, as far as the later half of the sessions tells, each
// judged by those before it. A role of too few sessions is left to the group of its
// tenant, or of all; a census of too few tells of nobody, and its agents are held
// against their own past alone.
func (c *Census) Peers(version string, r Rules) *Peers {
	p := &Peers{Version: version, Format: peersFormat, Groups: map[string]*Group{}}
	rate := thrift * cmp.Or(r.share(Provenance{}), r.Budget)
	put := func(name string, g *Group, t tail) {
		// Days lie between sessions: the first of an agent comes at the end of none.
		g.Bar = t.bar(g.later(r.Budget), rate*g.Days/max(float64(len(g.seen.sessions)-g.newcomers), 1))
		g.Rate, g.seen, g.lives = rate, exams{}, lives{}
		p.Groups[name] = g
	}
	c.fit(r)
	for name, g := range c.pools {
		if t, ok := tailOf(g.later(r.Budget)); ok && g.Roles > 1 {
			put(name, g, t)
		}
	}
	var all []float64
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		all = append(all, c.groups[name].later(r.Budget)...)
	}
	t, ok := tailOf(all)
	for name, g := range c.groups {
		// Agents without a role are among all of the tenant.
		if _, pooled := p.Groups[name]; !pooled && ok && len(g.seen.sessions) >= leastSessions {
			put(name, g, t)
		}
	}
	return p
}

// fit gives each group its priors: of a role those of its tenant are believed, of a
// tenant those of all, and of all those of the rules.
func (c *Census) fit(r Rules) {
	var all []*lives
	of := map[string][]*lives{} // by the name of the tenant's group
	parent := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		parent[name] = string(appendName(nil, "", g.tenant))
		all, of[parent[name]] = append(all, &g.lives), append(of[parent[name]], &g.lives)
	}
	whole := priors(r, nil, all...)
	for name, g := range c.pools {
		g.Priors = whole
		if name != everybody {
			g.Priors = priors(r, whole, of[name]...)
		}
	}
	for name, g := range c.groups {
		g.Priors = priors(r, c.pools[parent[name]].Priors, &g.lives)
	}
}

// leastSessions is how many sessions a role must have had to be a group of its own.
const leastSessions = 3 * tailLeast
