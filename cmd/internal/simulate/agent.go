package simulate

import (
	"fmt"
	"math/rand/v2"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A group is what the agents of one role and tenant have in common.
type group struct {
	kit    *kit
	tenant string
	key    uint64
	zone   int64 // nanoseconds east of Greenwich
	people []principal

	deployed       int64 // when the new build came
	builds, models [2]string
}

// A principal is a person on whose behalf agents act.
type principal struct {
	id     string
	level  int // of entitlement: 0 to 2
	scopes []string
}

// A record is one entry of an agent's memory.
type record struct {
	key    uint64
	origin event.Origin
}

// An agent is one agent's identity, habits and memory.
type agent struct {
	id     string
	key    uint64
	kit    *kit
	group  *group
	helper *agent
	parent *agent

	perDay  float64 // sessions
	weights [maxTools]uint16
	size    int64 // habitual volume, in 1/1024 of the role's
	chance  stream

	sessions  uint64
	adopted   uint32 // spare tools and crowns that it has taken up
	used      uint32 // tools that it has called
	pioneer   uint64 // chance in 2^32 that a session uses a tool for the first time
	issued    int32  // day since the epoch of its present credential; -1: it has none
	before    int32  // of the one before
	build     int    // that its last event told of
	records   [8]record
	remembers int
}

// hire makes the agent of that kit and key, with a group of its own; join puts it into another.
func (r *run) hire(k *kit, key uint64) *agent {
	a := &agent{id: "measured", key: key, kit: k, group: r.found(k, 0), perDay: 1, chance: streamOf(key, 1)}
	a.settle()
	if k.helper != nil {
		a.helper = &agent{id: "measured", key: mix(key, 2), kit: k.helper, group: r.found(k.helper, 0), parent: a, perDay: 1}
		a.helper.settle()
	}
	return a
}

// settle draws the agent's habits: a Dirichlet draw around those of its role. A
// tool that the draw all but rules out is never used; any other is used often
// enough to be known after some days.
func (a *agent) settle() {
	const concentration, seldom, least = 30, 8, 25
	s := streamOf(a.key, 3)
	src := rand.New(&s.pcg)
	sum := 0.0
	var draw [maxTools]float64
	for i := range a.kit.tools {
		if w := a.kit.tools[i].weight; w > 0 {
			draw[i] = gamma(src, concentration*float64(w)/1000)
			sum += draw[i]
		}
	}
	for i := range a.kit.tools {
		w := int(draw[i] / sum * 1000)
		switch {
		case w >= least:
			a.weights[i] = uint16(w)
		case w >= seldom:
			a.weights[i] = least
		}
	}
	a.size = 512 + s.between(0, 1024)
	a.issued, a.before = -1, -1
}

// does reports whether h is an everyday tool that the agent has called.
func (a *agent) does(h *held) bool { return h.class == habitual && a.used>>h.index&1 == 1 }

// staff makes the groups and agents of a run.
func (r *run) staff() {
	cfg := r.fleet.cfg
	r.groups = make([]*group, len(r.fleet.kits)*cfg.Tenants)
	for i := range r.groups {
		r.groups[i] = r.found(r.fleet.kits[i/cfg.Tenants], i%cfg.Tenants)
	}
	order := crew()
	agents := make([]agent, cfg.Agents)
	r.agents = make([]*agent, cfg.Agents)
	for i := range agents {
		kind, tenant := order[i%len(order)], i/len(order)%cfg.Tenants
		g := r.groups[kind*cfg.Tenants+tenant]
		key := mix(mix(cfg.Seed, uint64(i)), nameKey("agent"))
		a := &agents[i]
		*a = agent{id: fmt.Sprintf("%s-%04d", g.kit.short, i), key: key, kit: g.kit, group: g, chance: streamOf(key, 1)}
		a.settle()
		pace := streamOf(key, 4)
		a.perDay = r.perDay(g.kit) * float64(r.fleet.shapes.around(&pace, 1024)) / 1024 / spread
		a.pioneer = uint64((1 << 32) / 30 / max(a.perDay, 1.0/30))
		if g.kit.helper != nil {
			kind := r.groups[r.index(g.kit.helper)*cfg.Tenants+tenant]
			a.helper = &agent{id: fmt.Sprintf("%s-%04d", g.kit.helper.short, i), key: mix(key, 2), kit: g.kit.helper, group: kind, parent: a, perDay: a.perDay}
			a.helper.settle()
		}
		r.agents[i] = a
	}
}

// spread is the mean of the factor by which agents differ in how busy they are, exp(0.6²/2).
const spread = 1.197

// perDay returns how many sessions a day make up the configured rate, heartbeats taken off.
func (r *run) perDay(k *kit) float64 {
	return r.fleet.cfg.Rate * (1 - beatShare) / k.perSession
}

func (r *run) index(k *kit) int {
	for i := range r.fleet.kits {
		if r.fleet.kits[i] == k {
			return i
		}
	}
	return -1
}

// found makes the group of that kit and tenant.
func (r *run) found(k *kit, tenant int) *group {
	cfg := r.fleet.cfg
	g := &group{kit: k, tenant: fmt.Sprintf("tenant-%d", tenant+1), key: mix(mix(cfg.Seed, k.key), uint64(tenant)), zone: int64(zone(tenant))}
	s := streamOf(g.key, nameKey("group"))
	levels := [...]int{1, 0, 2}
	for i := range max(k.principals, 1) {
		level := 1
		if i < len(levels) {
			level = levels[i]
		} else if n := s.below(4); n != 3 {
			level = n
		}
		id := r.text.person(s.pcg.Uint64())
		for g.employs(id) {
			id = r.text.person(s.pcg.Uint64())
		}
		g.people = append(g.people, principal{id: id, level: level, scopes: k.granted[level]})
	}
	major, minor := s.below(5)+1, s.below(8)
	g.builds = [2]string{fmt.Sprintf("%d.%d.0", major, minor), fmt.Sprintf("%d.%d.0", major, minor+1)}
	g.models[0] = brains[s.below(len(brains))]
	g.models[1] = g.models[0]
	if s.below(3) == 0 {
		g.models[1] = brains[s.below(len(brains))]
	}
	length := int64(cfg.length())
	g.deployed = cfg.Start.UnixNano() + length*35/100 + s.between(0, length*30/100)
	return g
}

func (g *group) employs(id string) bool {
	for _, p := range g.people {
		if p.id == id {
			return true
		}
	}
	return false
}

// brains are the models in use.
var brains = [...]string{"atlas-large-3", "atlas-small-3", "corvid-2", "corvid-2-mini", "meridian-pro-1"}
