package simulate

import (
	"slices"

	"github.com/stakeout-project/stakeout/ingest/event"
)

const maxTools = 32 // of one role: sets of tools are bits of a uint32

// A tool is what an agent can call, as the catalogue describes it.
type tool struct {
	name, server string
	effect       event.Effect
	privilege    string
	resource     string // type of what is touched
	resources    int    // how many of them one agent touches
	sensitivity  event.Sensitivity

	taint   int   // of a hundred results, how many carry untrusted content
	in, out int64 // typical bytes of a result, and sent out by a call
	latency int64 // typical duration in milliseconds

	place  place  // kind of destination
	reach  int    // how many destinations one agent knows
	target string // argument that names the destination, or what is destroyed

	args []arg
}

// An arg is one argument and where its values come from.
type arg struct {
	name  string
	flows []flow
}

// A flow is one origin of an argument's values, with a weight. Where a source
// is named, the trust in its last result decides between tool and untrusted.
type flow struct {
	origin event.Origin
	source string
	weight int
}

// A class says how an agent of a role comes to use a tool.
type class uint8

const (
	habitual class = iota
	spare          // granted, harmless, hardly ever used
	crown          // granted, of high impact, hardly ever used
)

// hours is when a role works.
type hours struct {
	hour    [24]int64
	weekend int64 // of a hundred
}

// A role is what a kind of agent does.
type role struct {
	name       string
	short      string
	hours      hours
	calls      int // typical number of tool calls in a session
	tokens     int64
	daily      bool // holds one credential a day, not one a session
	remember   int  // of a hundred sessions, how many read memory
	store      int  // of a hundred sessions, how many write memory
	helper     string
	principals int
	uses       []use
	follow     []follow
}

// A use is a tool in the hands of a role, with its weight out of a thousand.
type use struct {
	tool   string
	weight int
	class  class
	open   bool // principals may lack the scope and nobody minds
}

// follow makes one tool likelier after another: its weight grows that many times.
type follow struct {
	from, to string
	times    int
}

// A kit is a role made ready for drawing: names resolved to indexes.
type kit struct {
	*role
	key      uint64
	tools    []held
	boost    [maxTools + 1][maxTools]uint16 // last row: nothing called yet
	scopes   []string                       // of the agent's own credential: all that it was granted
	entitled [3]uint32                      // tools that a principal of each level is entitled to
	granted  [3][]string                    // the same as scopes
	open     uint32
	narrow   []string // scopes of its everyday tools: what it gets when work is delegated to it
	helper   *kit

	perSession float64 // events of a session and of the helpers that it spawns, on average
}

// held is a tool in a kit.
type held struct {
	*tool
	index  int
	weight int
	class  class
	hash   string
	server string
	scope  []string
	keys   []string
	args   []bound
	high   bool // can do harm
}

// bound is an argument whose sources are tools of the same kit.
type bound struct {
	name  string
	flows []boundFlow
	total int
}

type boundFlow struct {
	origin event.Origin
	source int // index of a tool of the kit, or -1
	weight int
}

// equip resolves the catalogue. It panics where the catalogue is wrong, because
// that is a bug of this package.
func equip(roles []role, tools []tool) []*kit {
	kits := make([]*kit, len(roles))
	for i := range roles {
		kits[i] = assemble(&roles[i], tools)
	}
	for _, k := range kits {
		if k.role.helper != "" {
			i := slices.IndexFunc(kits, func(h *kit) bool { return h.name == k.role.helper })
			k.helper = kits[i]
		}
	}
	return kits
}

func assemble(r *role, tools []tool) *kit {
	k := &kit{role: r, key: nameKey(r.name)}
	if len(r.uses) > maxTools {
		panic("simulate: too many tools in role " + r.name)
	}
	for i, u := range r.uses {
		t := slices.IndexFunc(tools, func(t tool) bool { return t.name == u.tool })
		if t < 0 {
			panic("simulate: role " + r.name + " uses unknown tool " + u.tool)
		}
		k.add(i, u, &tools[t])
	}
	for i := range k.boost {
		for j := range k.boost[i] {
			k.boost[i][j] = 1
		}
	}
	for _, f := range r.follow {
		row := maxTools
		if f.from != "" {
			row = k.find(f.from).index
		}
		k.boost[row][k.find(f.to).index] = uint16(f.times)
	}
	for i := range k.tools {
		k.tools[i].bind(k)
	}
	return k
}

func (k *kit) add(i int, u use, t *tool) {
	h := held{tool: t, index: i, weight: u.weight, class: u.class, hash: hexOf(nameKey("definition of " + t.name)),
		server: t.server + ".svc.example", scope: []string{t.privilege}}
	grave := t.sensitivity == event.Confidential || t.sensitivity == event.Restricted
	h.high = u.class == crown || grave && t.effect.Changes()
	for _, a := range t.args {
		h.keys = append(h.keys, a.name)
	}
	k.tools = append(k.tools, h)
	bit := uint32(1) << i
	if u.open {
		k.open |= bit
	}
	low := u.class != crown && !h.high && t.sensitivity != event.Restricted && !u.open
	for level, may := range [3]bool{low, u.class != crown, true} {
		if may {
			k.entitled[level] |= bit
			if !slices.Contains(k.granted[level], t.privilege) {
				k.granted[level] = append(k.granted[level], t.privilege)
			}
		}
	}
	k.scopes = k.granted[2]
	if u.class == habitual {
		k.narrow = append(k.narrow, t.privilege)
	}
}

// find returns the tool of that name, which the kit must hold.
func (k *kit) find(name string) *held {
	i := slices.IndexFunc(k.tools, func(h held) bool { return h.name == name })
	if i < 0 {
		panic("simulate: role " + k.name + " has no tool " + name)
	}
	return &k.tools[i]
}

func (h *held) bind(k *kit) {
	for _, a := range h.tool.args {
		b := bound{name: a.name}
		for _, f := range a.flows {
			source := -1
			if f.source != "" {
				source = slices.IndexFunc(k.tools, func(h held) bool { return h.name == f.source && h.class == habitual })
				if source < 0 {
					continue
				}
			}
			b.flows = append(b.flows, boundFlow{origin: f.origin, source: source, weight: f.weight})
			b.total += f.weight
		}
		if b.total == 0 {
			b.flows, b.total = []boundFlow{{origin: event.FromUser, source: -1, weight: 1}}, 1
		}
		h.args = append(h.args, b)
	}
}

// feeds reports whether the role's habits let a result of the tool at index source into h's argument arg.
func (h *held) feeds(source int, arg string) bool {
	for _, a := range h.args {
		if a.name == arg {
			return slices.ContainsFunc(a.flows, func(f boundFlow) bool { return f.source == source })
		}
	}
	return false
}

func hexOf(key uint64) string {
	var t text
	return t.hex(key)
}
