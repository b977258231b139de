package detect

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Peers is what is normal for agents of one role and tenant: how their effectful
// calls come about. It is learned from a clean stretch of the log by a [Census],
// and never changes afterwards, so it is the same for every partition and every
// replay. It is safe for concurrent use.
type Peers struct {
	Version string            `json:"version"` // names it in the findings made under it
	Groups  map[string]*Group `json:"groups"`  // by role and tenant; see nameOf
}

// A Group is one peer group's part of [Peers].
type Group struct {
	Sessions float64             `json:"sessions"`
	Calls    float64             `json:"calls"` // effectful ones
	Told     float64             `json:"told"`  // calls in sessions of which it is known what the user asked for
	Days     float64             `json:"days"`  // of agents
	Tools    map[uint64]*Usage   `json:"tools"` // by tool: calls, and those nobody asked for
	Args     map[uint64]*Usage   `json:"args"`  // by tool and argument: values, and untrusted ones
	Flows    map[uint64]float64  `json:"flows"` // by origin, source tool, tool and argument
	Values   map[uint64]struct{} `json:"values"`
	Bar      float64             `json:"bar"`  // evidence that a call must exceed to be odd
	Rate     float64             `json:"rate"` // of odd calls per agent-day

	seen []float64 // evidence at the calls of the census, each before it was learned
}

// Usage counts a thing and how often it was of a special kind.
type Usage struct {
	All     float64 `json:"all"`
	Special float64 `json:"special"`
}

// Validate reports what makes p no peers.
func (p *Peers) Validate() error {
	var errs []error
	if p.Version == "" {
		errs = append(errs, errors.New("version: is missing, want a name that findings can quote"))
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
	return p.Groups[nameOf(v)]
}

// nameOf names the peer group of the agent that v looks at: its role and tenant.
func nameOf(v View) string {
	role, tenant := v.Event.Role, v.Event.Tenant
	if role == "" {
		role = v.Profile.role.String()
	}
	if tenant == "" {
		tenant = v.Profile.tenant.String()
	}
	return role + "\x00" + tenant
}

// surprise says in nats how far an effectful call is from how the group's calls
// come about; 0 for other events. It is the surprise that nobody asked for the
// effect, that a value came this way, that it is untrusted, and that this tool is
// used at all,
//
//	(u/2 + u_t/2 + flow + taint/2 + tool/2) (0.5 + g) (1 + n)
//
// with u = -ln((m_t + 1/2)/(S + 1)) and u_t = -ln((m_t + 1/2)/(n_t + 1)) where the
// effect was not asked for (m_t such calls of n_t of tool t, in S sessions), flow
// the largest -ln((f + 1/2)/(n_a + 5)) over the arguments, taint the sum of
// -ln((t_a + 1/2)/(n_a + 1)) over the untrusted ones, tool = -ln((n_t + 1/2)/(N + 1));
// g is 1 where no argument is in the user's own words, n is 1 where an untrusted
// value is new to the group. The weights are round numbers, chosen on real traces;
// the scale does not matter, because the bar is set from the group's own calls.
func (g *Group) surprise(v View) float64 {
	ev := v.Event
	if !effectful(ev) {
		return 0
	}
	tool := hash(ev.Tool)
	used := g.Tools[tool].or()
	sum := info(used.All, g.Calls+1) / 2
	if g.unasked(v) {
		sum += (info(used.Special, g.Sessions+1) + info(used.Special, used.All+1)) / 2
	}
	flow, grounded, fresh := 0.0, false, false
	for _, m := range ev.ArgOrigins {
		arg := g.Args[hash(ev.Tool, m.Key)].or()
		source, _ := ev.ArgSources.Lookup(m.Key)
		flow = math.Max(flow, info(g.Flows[hash(string(m.Value), source, ev.Tool, m.Key)], arg.All+5))
		switch m.Value {
		case event.FromUser:
			grounded = true
		case event.FromUntrusted:
			sum += info(arg.Special, arg.All+1) / 2
			fresh = fresh || g.fresh(ev, m.Key)
		}
	}
	weight := 0.5
	if !grounded {
		weight++
	}
	novel := 1.0
	if fresh {
		novel++
	}
	return float64(float64((sum+flow)*weight) * novel)
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

// info is the information in seeing what was seen n times, in nats.
func info(n, of float64) float64 { return -math.Log((n + 0.5) / of) }

func (u *Usage) or() Usage {
	if u == nil {
		return Usage{}
	}
	return *u
}

// effectful reports whether ev is a call that can change the world.
func effectful(ev *event.Event) bool { return ev.Name == event.ToolCall && ev.Effect.Changes() }

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

// of returns the group of the agent that v looks at as the census has it so far, nil where it has none.
func (c *Census) of(v View) *Group {
	if c == nil {
		return nil
	}
	return c.groups[nameOf(v)]
}

// observe learns one event; begun says that it is the first of its session.
func (c *Census) observe(v View, begun bool, passed time.Duration) {
	ev := v.Event
	g := c.of(v)
	if g == nil {
		if len(c.groups) >= maxGroups {
			return
		}
		g = &Group{Tools: map[uint64]*Usage{}, Args: map[uint64]*Usage{}, Flows: map[uint64]float64{}, Values: map[uint64]struct{}{}}
		c.groups[nameOf(v)] = g
	}
	g.Days += min(passed, 24*time.Hour).Hours() / 24
	if begun {
		g.Sessions++
	}
	if !effectful(ev) {
		return
	}
	g.seen = append(g.seen, v.Evidence)
	g.Calls++
	count(g.Tools, hash(ev.Tool), g.unasked(v))
	if _, known := v.Session.asked(ev.Effect); known {
		g.Told++
	}
	for _, m := range ev.ArgOrigins {
		count(g.Args, hash(ev.Tool, m.Key), m.Value == event.FromUntrusted)
		source, _ := ev.ArgSources.Lookup(m.Key)
		if flow := hash(string(m.Value), source, ev.Tool, m.Key); g.Flows[flow] > 0 || len(g.Flows) < maxItems {
			g.Flows[flow]++
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

// thrift is how much of the rate a detector pays for watching by a group's bar: a
// little less than all, so that its wealth does not sit at the edge of enough.
const thrift = 0.95

// Peers closes the census. The bar of each group is where, among the later half of
// its calls, each judged by those before it, not more than rate per agent-day were
// beyond: conformal calibration at the unit of the budget.
func (c *Census) Peers(version string, rate float64) *Peers {
	for _, g := range c.groups {
		later := g.seen[len(g.seen)/2:]
		sort.Float64s(later)
		allowed := int(rate * g.Days / 2)
		if len(later) > 0 {
			g.Bar = later[max(len(later)-1-allowed, 0)]
		}
		g.Rate, g.seen = thrift*rate, nil
	}
	return &Peers{Version: version, Groups: c.groups}
}
