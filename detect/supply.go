package detect

import (
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// SupplyChain finds an agent that runs a model, a build or a server which it never
// ran and which no deployment brought, and, where the rules have a bill of
// materials, what that does not name: then no past and no deployment is asked.
type SupplyChain struct{ Prior Prior }

// About implements [Detector].
func (d SupplyChain) About() About {
	return About{Slot: 10, Name: "supply_chain", Threat: Supply, Severity: High,
		Normal: "a deployment: a config.change event that names the model or the build, or comes shortly before",
		ASI:    []string{"ASI04"}, ATLAS: []string{"AML.T0010"}}
}

func (d SupplyChain) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks of every event that names a model, a build or
// the server of a tool. What a config.change names, or what comes within two hours of
// one, is deployed. The first of its kind says nothing: the shipper has begun to tell.
// A build is asked about only where this agent's builds have come by config.change, a
// model only where the agent keeps to a few, and a server only where it is plugged in:
// where the definition of a tool comes from it in the middle of a session. That an
// agent first calls what it could long have called is everyday life.
//
// A part of a kind that the bill of materials rules is asked of the bill alone: one
// that it does not name is certain, of every agent, and reported once.
func (d SupplyChain) Judge(v View) (t Test) {
	if v.Profile.mature() {
		t = v.ask(parts, d.Prior)
	}
	_, t.Certain = v.unreported()
	return t
}

// The kinds of part, in the lowest two bits of what is remembered of one.
const (
	outside = iota // of the bill of materials, and reported; see unlistedMark
	model
	server
	build
)

// fewModels is how many models an agent may know and still be one that tries no others.
const fewModels = 3

// partOf is what is remembered of a part: 14 bits of its name's hash and its kind.
func partOf(kind int, name string) uint64 {
	return uint64(mark(xxhash.Sum64String(name))&^3) | uint64(kind)
}

func part(v View) occasion {
	var o occasion
	fresh, h := false, v.Profile.habit(parts)
	for kind, name := range partsOf(v.Event) {
		if name == "" || v.bill.rules(kind) {
			continue
		}
		o.trial = true
		switch item := partOf(kind, name); {
		case h.knows(item):
			if !fresh {
				o.item = item // the rarest of those known, to stay so
			}
		case v.strange(kind):
			o.item, o.odd = item, true
			return o
		case !fresh:
			o.item, fresh = item, true
		}
	}
	return o
}

// partsOf names the parts that an event shows at work, by kind.
func partsOf(ev *event.Event) [build + 1]string {
	names := [build + 1]string{model: ev.Model, build: ev.Version}
	switch ev.Name {
	case event.ToolCall, event.ToolDefinition, event.ConfigChange:
		names[server] = ev.Server
	}
	return names
}

// strange reports whether nothing explains a part of a kind that is new.
func (v View) strange(kind int) bool {
	p := v.Profile
	switch {
	case v.Event.Name == event.ConfigChange || p.explained(kind, v.Event.Time):
		return false
	case kind == build && !p.announces:
		return false
	case kind == server && !v.pluggedIn():
		return false
	case kind == model && p.partsKnown(kind) > fewModels:
		return false
	}
	return p.partsKnown(kind) > 0
}

// pluggedIn reports whether the event defines a tool in the middle of its session, and
// did not only come late.
func (v View) pluggedIn() bool {
	ev, s := v.Event, v.Session
	if ev.Name != event.ToolDefinition || s.intents&underWay == 0 {
		return false
	}
	if !ev.Seq.OK {
		return true
	}
	_, _, late := v.Profile.numbersAfter(ev, s)
	return !late
}

// partsKnown is how many parts of a kind are remembered.
func (p *Profile) partsKnown(kind int) (n int) {
	for _, have := range p.habit(parts).items {
		if have != 0 && int(have&3) == kind {
			n++
		}
	}
	return n
}

// What a change of configuration named stands above its hour: a bit for each kind of part,
// and for anything at all.
const (
	deployedHour = 1<<24 - 1 // since 1970
	namedPart    = deployedHour + 1
	namedAny     = namedPart << outside
)

// deploy notes a change of configuration and what it names, which is known from then on.
// What is named within the hour or two of another change is named by both.
func (p *Profile) deploy(v View) {
	ev, named := v.Event, uint32(0)
	for kind, name := range partsOf(ev) {
		if name == "" {
			continue
		}
		named |= namedAny | namedPart<<kind
		if !v.bill.rules(kind) {
			p.habit(parts).remember(partOf(kind, name))
		}
	}
	if ev.Tool != "" {
		named |= namedAny
	}
	if p.deploying(ev.Time) {
		named |= p.deployed &^ deployedHour
	}
	p.deployed = max(p.deployed&deployedHour, hourOf(ev.Time)) | named
	p.announces = p.announces || ev.Version != ""
}

// deploying reports whether there was a deployment: in the hour before a time or in its own.
func (p *Profile) deploying(at event.Timestamp) bool {
	h, deployed := hourOf(at), p.deployed&deployedHour
	return deployed != 0 && h >= deployed && h <= deployed+1
}

// announced reports whether a deployment says anything of what it brings. One that names
// nothing does only where this agent's deployments do not name builds.
func (p *Profile) announced(at event.Timestamp) bool {
	return p.deploying(at) && (p.deployed&namedAny != 0 || !p.announces)
}

// explained reports whether a deployment explains a new part of a kind. Parts that it named
// are known since: where it named one of the kind, another is not what was announced.
func (p *Profile) explained(kind int, at event.Timestamp) bool {
	return p.announced(at) && p.deployed&(namedPart<<kind) == 0
}

// Explain implements [Detector].
func (d SupplyChain) Explain(v View) Claim {
	if all, certain := v.unreported(); certain {
		return v.explainUnlisted(all)
	}
	ev, p, h := v.Event, v.Profile, v.Profile.habit(parts)
	var what, name string
	known := 0
	for kind, n := range partsOf(ev) {
		if n != "" && name == "" && !v.bill.rules(kind) && !h.knows(partOf(kind, n)) && v.strange(kind) {
			what, name, known = [...]string{model: "model", server: "server", build: "build"}[kind], n, p.partsKnown(kind)
		}
	}
	before := "no config.change before it"
	if p.deploying(ev.Time) {
		before = "not named by the config.change before it"
	}
	return Claim{
		Reason:   fmt.Sprintf("%s runs %s %s, which no deployment brought", ev.Agent, what, name),
		Observed: fmt.Sprintf("%s %s%s at %s, never seen with this agent, %s", what, name, by(ev), ev.Name, before),
		Baseline: fmt.Sprintf("in %d events with a model, server or build since %s: %.1f new ones without deployment; %d of this kind known", h.trials, p.first.Time().Format("2006-01-02"), h.surprises, known),
	}
}
