package detect

import (
	"fmt"
	"strings"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A BOM is the operator's bill of materials: what agents may be made of. A section
// that is nil holds nothing of its kind against anybody.
type BOM struct {
	Models  []string    `yaml:"models"`
	Servers []BOMServer `yaml:"servers"`
	Builds  []BOMBuild  `yaml:"builds"`
}

// BOMServer is a server with the tools that it may offer: any, where Tools is nil.
type BOMServer struct {
	Address string    `yaml:"address"`
	Tools   []BOMTool `yaml:"tools"`
}

// BOMTool is a tool by its name and the hash of its definition: any, where it is
// empty. One that stands with two hashes may have either.
type BOMTool struct {
	Name string `yaml:"name"`
	Hash string `yaml:"hash"`
}

// BOMBuild is a version that agents of a role may run, or all agents where it names none.
type BOMBuild struct {
	Role    string `yaml:"role"`
	Version string `yaml:"version"`
}

const (
	bomText = 1024 // bytes of a name in a bill of materials
	bomHash = 128  // digits of a hash
)

// problems reports what makes b no bill of materials, each with the path to it.
func (b *BOM) problems() (errs []error) {
	seen := map[string]bool{}
	bad := func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf("bom"+path+": "+format, args...))
	}
	name := func(path, s string) {
		if s == "" || len(s) > bomText {
			bad(path, "has %d bytes, want 1 to %d", len(s), bomText)
		}
	}
	once := func(path string, parts ...string) {
		key := fmt.Sprintf("%q", parts)
		if seen[key] {
			bad(path, "stands twice")
		}
		seen[key] = true
	}
	empty := func(path string, none bool, what string) {
		if none {
			bad(path, "is empty, want %s, or no such section, which holds nothing of its kind against anybody", what)
		}
	}
	empty("", b.Models == nil && b.Servers == nil && b.Builds == nil, "models, servers or builds")
	empty(".models", b.Models != nil && len(b.Models) == 0, "names of models")
	empty(".servers", b.Servers != nil && len(b.Servers) == 0, "servers")
	empty(".builds", b.Builds != nil && len(b.Builds) == 0, "builds")
	for i, m := range b.Models {
		path := fmt.Sprintf(".models[%d]", i)
		name(path, m)
		once(path, "model", m)
	}
	for i, s := range b.Servers {
		path := fmt.Sprintf(".servers[%d]", i)
		name(path+".address", s.Address)
		once(path+".address", "server", s.Address)
		empty(path+".tools", s.Tools != nil && len(s.Tools) == 0, "tools")
		free := map[string]bool{}
		for _, t := range s.Tools {
			free[t.Name] = free[t.Name] || t.Hash == ""
		}
		for j, t := range s.Tools {
			path := fmt.Sprintf("%s.tools[%d]", path, j)
			name(path+".name", t.Name)
			if len(t.Hash) > bomHash || strings.Trim(t.Hash, "0123456789abcdefABCDEF") != "" {
				bad(path+".hash", "is %.40q, want at most %d hexadecimal digits", t.Hash, bomHash)
			}
			if t.Hash != "" && free[t.Name] {
				bad(path+".hash", "says nothing, because the tool stands without a hash, too")
			}
			once(path, "tool", s.Address, t.Name, strings.ToLower(t.Hash))
		}
	}
	for i, v := range b.Builds {
		path := fmt.Sprintf(".builds[%d]", i)
		if len(v.Role) > bomText {
			bad(path+".role", "has %d bytes, want at most %d", len(v.Role), bomText)
		}
		name(path+".version", v.Version)
		once(path, "build", v.Role, v.Version)
	}
	return errs
}

// A bill is a BOM to look things up in; a nil one names no section.
type bill struct {
	models  map[string]bool
	servers map[string]map[string][]string // the hashes of the tools of each; nil where any tool may be
	builds  map[BOMBuild]bool
}

func (b *BOM) index() *bill {
	if b == nil {
		return nil
	}
	var x bill
	if b.Models != nil {
		x.models = map[string]bool{}
		for _, m := range b.Models {
			x.models[m] = true
		}
	}
	if b.Servers != nil {
		x.servers = map[string]map[string][]string{}
		for _, s := range b.Servers {
			var tools map[string][]string
			if s.Tools != nil {
				tools = map[string][]string{}
			}
			for _, t := range s.Tools {
				tools[t.Name] = append(tools[t.Name], t.Hash)
			}
			x.servers[s.Address] = tools
		}
	}
	if b.Builds != nil {
		x.builds = map[BOMBuild]bool{}
		for _, v := range b.Builds {
			// As long a role as a profile keeps, which is asked where an event names none.
			x.builds[BOMBuild{brief(v.Role).String(), v.Version}] = true
		}
	}
	return &x
}

// rules reports whether the bill says which parts of a kind may be, so that
// nothing is asked of the agent's past.
func (b *bill) rules(kind int) bool {
	if b == nil {
		return false
	}
	return [...]bool{model: b.models != nil, server: b.servers != nil, build: b.builds != nil}[kind]
}

// An unlisted part is one that an event shows and the bill does not name; the zero one is none.
type unlisted struct {
	what string // kind of thing
	mark uint64 // by which it is remembered that it was reported
}

// unlisted returns what the event in view shows that is not in the bill, by kind.
func (v View) unlisted() (all [build + 1]unlisted) {
	b, ev := v.bill, v.Event
	if b == nil {
		return all
	}
	names := partsOf(ev)
	if name := names[model]; name != "" && b.models != nil && !b.models[name] {
		all[model] = unlisted{"model", unlistedMark("model", name)}
	}
	if name := names[server]; name != "" && b.servers != nil {
		all[server] = b.unlistedServer(ev)
	}
	if name := names[build]; name != "" && b.builds != nil {
		role := brief(ev.Role).String()
		if role == "" {
			role = v.Profile.role.String()
		}
		if !b.builds[BOMBuild{role, name}] && !b.builds[BOMBuild{"", name}] {
			all[build] = unlisted{"build", unlistedMark("build", name)}
		}
	}
	return all
}

func (b *bill) unlistedServer(ev *event.Event) unlisted {
	tools, ok := b.servers[ev.Server]
	if !ok {
		return unlisted{"server", unlistedMark("server", ev.Server)}
	}
	if tools == nil || ev.Tool == "" {
		return unlisted{}
	}
	hashes, ok := tools[ev.Tool]
	if !ok {
		return unlisted{"tool", unlistedMark("tool", ev.Server, ev.Tool)}
	}
	for _, h := range hashes {
		if h == "" || ev.ToolHash == "" || strings.EqualFold(h, ev.ToolHash) {
			return unlisted{}
		}
	}
	return unlisted{"definition", unlistedMark("definition", ev.Server, ev.Tool, strings.ToLower(ev.ToolHash))}
}

// unlistedMark is what is remembered of an unlisted part: 14 bits of its name's hash,
// and in the lowest two none of the kinds, so that a part that the agent ran before
// there was a bill is reported, too.
func unlistedMark(parts ...string) uint64 {
	return max(uint64(mark(hash(parts...))&^3), 4)
}

// unlistedKept is how many unlisted parts are reported one after another: while the
// agent is known for so many, one more is reported in an hour.
const unlistedKept = 4

// unreported returns those of the unlisted parts in view that are to be reported.
func (v View) unreported() (all [build + 1]unlisted, found bool) {
	if v.bill == nil {
		return all, false
	}
	h := v.Profile.habit(parts)
	if v.Profile.partsKnown(outside) >= unlistedKept && hourOf(v.Event.Time) <= h.learned {
		return all, false
	}
	for kind, u := range v.unlisted() {
		if u.mark != 0 && !h.knows(u.mark) {
			all[kind], found = u, true
		}
	}
	return all, found
}

// report remembers the unlisted parts in view: the new ones as reported, those that
// were reported before as still in use.
func (p *Profile) report(v View) {
	if v.bill == nil {
		return
	}
	h, all := p.habit(parts), v.unlisted()
	fresh, found := v.unreported()
	full := found && p.partsKnown(outside) >= unlistedKept
	for kind, u := range all {
		if u.mark != 0 && (fresh[kind].mark != 0 || h.knows(u.mark)) {
			h.remember(u.mark)
		}
	}
	if full {
		h.learned = hourOf(v.Event.Time)
	}
}

// explainUnlisted says what of the event is not in the bill.
func (v View) explainUnlisted(all [build + 1]unlisted) Claim {
	ev := v.Event
	var what []string
	for _, u := range all {
		switch u.what {
		case "model":
			what = append(what, "model "+ev.Model)
		case "server":
			what = append(what, "server "+ev.Server)
		case "tool":
			what = append(what, "tool "+ev.Tool+" of "+ev.Server)
		case "definition":
			what = append(what, "definition "+ev.ToolHash+" of tool "+ev.Tool+" of "+ev.Server)
		case "build":
			what = append(what, "build "+ev.Version)
		}
	}
	named := strings.Join(what, " and ")
	return Claim{
		Reason:   fmt.Sprintf("%s runs %s, which the bill of materials does not name", ev.Agent, named),
		Observed: fmt.Sprintf("%s at %s", named, ev.Name),
		Baseline: "the bill of materials in force: a rule, not a probability",
		Normal:   "an entry in the bill of materials (bom in the detection rules)",
	}
}
