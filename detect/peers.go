package detect

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Peers is what is normal for agents of one role and tenant: how their calls that
// reach out come about. Agents of a role that is not known are held against all of
// their tenant, or against all there are. It is learned from a clean stretch of the
// log by a [Census], and never changes afterwards, so it is the same for every
// partition and every replay. It is safe for concurrent use.
type Peers struct {
	Version string            `json:"version"` // names it in the findings made under it
	Format  int               `json:"format"`  // of what is counted; see peersFormat
	Groups  map[string]*Group `json:"groups"`  // by role and tenant; see appendName
}

// peersFormat changes with what a group counts and with how names are hashed:
// evidence from other counts has another scale, and the bar would not fit it.
const peersFormat = 5

// A Group is one peer group's part of [Peers].
type Group struct {
	Sessions float64            `json:"sessions"`
	Calls    float64            `json:"calls"`  // those that reach out
	Told     float64            `json:"told"`   // calls in sessions of which it is known what the user asked for
	Days     float64            `json:"days"`   // of agents
	Roles    int                `json:"roles"`  // that it brings together; 0 for a role itself
	Tools    map[uint64]float64 `json:"tools"`  // calls by tool
	Jobs     map[uint64]float64 `json:"jobs"`   // calls by what the user asked for, and by that and the tool
	Ways     map[uint64]*Ways   `json:"ways"`   // how calls came about: by tool, by effect, and of all
	Args     map[uint64]float64 `json:"args"`   // values by tool and argument
	Flows    map[uint64]float64 `json:"flows"`  // by origin, source tool, tool and argument
	Values   map[uint64]float64 `json:"values"` // by tool, argument and value
	Fresh    map[uint64]*Usage  `json:"fresh"`  // values not in the user's words, and new ones: by tool, argument and origin, and by effect and origin
	Bar      float64            `json:"bar"`    // evidence that a session must exceed to be odd
	Rate     float64            `json:"rate"`   // of odd sessions per agent-day
	Priors   map[string]Prior   `json:"priors"` // on the rates of surprises, by detector; one that is not here has that of the rules

	seen      exams // what the census has judged; see Peers of Census
	lives     lives // and the surprises that it has counted
	newcomers int   // agents that were not known before
	tenant    string
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
		if g == nil || !(g.Rate > 0 && g.Rate <= 100) || !(g.Bar >= 0) || !g.counted() {
			errs = append(errs, fmt.Errorf("groups.%q: has no rate, or a count or bar below 0", name))
			continue
		}
		for _, detector := range slices.Sorted(maps.Keys(g.Priors)) {
			if prior := g.Priors[detector]; !prior.proper() {
				errs = append(errs, fmt.Errorf("groups.%q.priors.%s: is %v surprises in %v days, want more than 0 of both, and a youth of 0 or more", name, detector, prior.A, prior.B))
			}
		}
	}
	return errors.Join(errs...)
}

// counted reports whether all counts of g are such.
func (g *Group) counted() bool {
	ok := g.Sessions >= 0 && g.Calls >= 0 && g.Told >= 0
	for _, m := range []map[uint64]float64{g.Tools, g.Jobs, g.Args, g.Flows, g.Values} {
		for _, n := range m {
			ok = ok && n >= 0
		}
	}
	for _, w := range g.Ways {
		ok = ok && w != nil && slices.Min(w[:]) >= 0
	}
	for _, u := range g.Fresh {
		ok = ok && u != nil && 0 <= u.Special && u.Special <= u.All
	}
	return ok
}

// of returns the group of the agent that v looks at: that of its role, else that
// of its tenant, else that of all; nil where there is none.
func (p *Peers) of(v View) *Group {
	if p == nil {
		return nil
	}
	role, tenant := peersOf(v)
	var room [128]byte
	if g := p.Groups[string(appendName(room[:0], role, tenant))]; g != nil {
		return g
	}
	if g := p.Groups[string(appendName(room[:0], "", tenant))]; g != nil {
		return g
	}
	return p.Groups[everybody]
}

// Knows reports whether there is a group of a role and tenant itself.
func (p *Peers) Knows(role, tenant string) bool {
	return p.Groups[string(appendName(nil, role, tenant))] != nil
}

// peersOf tells role and tenant of the agent that v looks at.
func peersOf(v View) (role, tenant string) {
	role, tenant = v.Event.Role, v.Event.Tenant
	if role == "" {
		role = v.Profile.role.String()
	}
	if tenant == "" {
		tenant = v.Profile.tenant.String()
	}
	return role, tenant
}

// appendName appends the name of a peer group. Without a role it is that of all of
// the tenant.
func appendName(dst []byte, role, tenant string) []byte {
	return append(append(append(dst, role...), 0), tenant...)
}

// everybody is the name of the group of all agents.
const everybody = "\x00"

// priorsOf are the priors of a group by the slots of the detectors in force; zero where
// it has none.
func (g *Group) priorsOf(detectors []watching) *[maxDetectors]Prior {
	var bySlot [maxDetectors]Prior
	for _, d := range detectors {
		bySlot[d.about.Slot] = g.Priors[d.about.Name]
	}
	return &bySlot
}
