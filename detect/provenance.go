package detect

import (
	"fmt"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Provenance finds an effectful call that nobody asked for, with an argument
// whose value came only from untrusted content, by a way such values never took
// before: from that source tool into that argument of that tool. What the user asked for
// is one all the same where it goes to a destination that was new to the agent, too, and
// most are not: he asks to answer a mail, not to write to whom the mail names.
//
// What was planted in one session and is done in a later one comes by no untrusted content
// there: its values are in memory, or the model says them as its own. So a value that nobody
// in the session vouches for is held to be as strange, but only of a call that surely nobody
// asked for, and to a destination as new, or of a deletion.
type Provenance struct{ Prior Prior }

// About implements [Detector].
func (d Provenance) About() About {
	return About{Slot: 3, Name: "provenance", Threat: PromptInjection, Severity: High,
		Normal: "the user asks for the effect, or the value comes from the user or from a source that fed this argument before",
		ASI:    []string{"ASI01"}, ATLAS: []string{"AML.T0051.001"}}
}

func (d Provenance) prior() Prior { return d.Prior }

// ownLook is how many times as often as to its peers an agent may be expected to
// surprise itself for that to be asked besides.
const ownLook = 3

// Judge implements [Detector]. It asks of every effectful call whose argument
// origins are known. Where it is not known what the user asked for, the flow alone counts.
// Where the agent's peers are known, a session is held against them, and the agent may
// be new. Once it is not, a flow is held against its own past as well, as long as
// that surprises seldom: two looks are paid for, and either may be odd.
func (d Provenance) Judge(v View) Test {
	if v.Peers == nil {
		if !v.Profile.mature() {
			return Test{}
		}
		return v.ask(flows, d.Prior)
	}
	t := Test{Rate: v.Peers.Rate, Odd: unlikePeers(v)}
	if own := v.question(flows, d.Prior); v.Profile.mature() && own.Rate <= ownLook*v.Peers.Rate {
		t.Rate += own.Rate
		t.Odd = t.Odd || own.Odd
	}
	return t
}

// unlikePeers reports whether the session of a call has more evidence than those of
// the agent's peers have.
func unlikePeers(v View) bool { return v.Surprise > 0 && v.Evidence > v.Peers.Bar }

func flow(v View) occasion {
	ev := v.Event
	if !effectful(ev) || len(ev.ArgOrigins) == 0 {
		return occasion{}
	}
	o := occasion{trial: true}
	if arg, source, ok := untrusted(v); ok {
		o.item = hash(source, ev.Tool, arg)
		o.odd = !v.Profile.habit(flows).knows(o.item) && (!wanted(v) || elsewhere(v))
	} else if strays(v) {
		o.item, o.odd = unsaid(v)
	}
	return o
}

// fewNew is how likely a contact with a new destination may be for one to say anything.
const fewNew = 0.5

// elsewhere reports whether a call goes to a destination that is new to the agent, of whose
// contacts most are with known ones.
func elsewhere(v View) bool {
	to, d := v.Event.Destination, &v.Profile.volumes.known
	return to != "" && !d.has(hash(to)) && d.newness() <= fewNew
}

// untrusted returns an argument with a value from untrusted content, and the
// tool it came through: one of an unknown flow if there is any. Whether there is one, its name does
// not say: it may be empty.
func untrusted(v View) (arg, source string, ok bool) {
	for _, m := range v.Event.ArgOrigins {
		if m.Value != event.FromUntrusted {
			continue
		}
		src, _ := v.Event.ArgSources.Lookup(m.Key)
		if !ok || !v.Profile.habit(flows).knows(hash(src, v.Event.Tool, m.Key)) {
			arg, source, ok = m.Key, src, true
		}
	}
	return arg, source, ok
}

// Explain implements [Detector].
func (d Provenance) Explain(v View) Claim {
	if v.Peers != nil && unlikePeers(v) {
		return d.explainByPeers(v)
	}
	ev, n := v.Event, v.Profile.habit(flows)
	arg, source, ok := untrusted(v)
	if !ok {
		return d.explainUnvouched(v)
	}
	from := "untrusted content"
	if source != "" {
		from += " that " + source + " returned"
	}
	wish, normal := "what the user asked for is not known", ""
	switch asked, known := v.Session.asked(ev.Effect); {
	case asked:
		wish = fmt.Sprintf("the user asked for effect %s, but %s is new to the agent", ev.Effect, ev.Destination)
		normal = "a destination that the agent knows, or a value from the user or from a source that fed this argument before"
	case known:
		wish = fmt.Sprintf("the user did not ask for effect %s", ev.Effect)
	}
	c := Claim{
		Reason:   fmt.Sprintf("%s called %s with %q taken from %s", ev.Agent, ev.Tool, arg, from),
		Observed: fmt.Sprintf("%s -> %s.%s, effect %s; %s", from, ev.Tool, arg, ev.Effect, wish),
		Baseline: fmt.Sprintf("in %d effectful calls, %.1f unasked ones by a new way; %d ways known", n.trials, n.surprises, n.known()),
		Normal:   normal,
	}
	if !v.Session.tainted.empty() {
		c.Evidence = []string{v.Session.tainted.String()}
	}
	return c
}

// explainByPeers explains a call that no call of the agent's peers comes near.
func (d Provenance) explainByPeers(v View) Claim {
	ev, g := v.Event, v.Peers
	tool, so := hash(ev.Tool), known{group: g}
	wish := "what the user asked for is not known"
	switch asked, known := v.Session.asked(ev.Effect); {
	case known && asked:
		wish = fmt.Sprintf("the user asked for effect %s", ev.Effect)
	case known:
		wish = fmt.Sprintf("the user did not ask for effect %s", ev.Effect)
	}
	origins := make([]string, 0, len(ev.ArgOrigins))
	for _, m := range ev.ArgOrigins {
		origin := string(m.Value)
		if source, ok := ev.ArgSources.Lookup(m.Key); ok {
			origin += " (" + source + ")"
		}
		origins = append(origins, m.Key+" from "+origin)
	}
	c := Claim{
		Reason:   fmt.Sprintf("%s called %s in a way its peers do not", ev.Agent, ev.Tool),
		Observed: fmt.Sprintf("%s, effect %s: %s; %s; evidence %.1f, %.1f in this session", ev.Tool, ev.Effect, list(origins), wish, v.Surprise, v.Evidence),
		Baseline: fmt.Sprintf("of %.0f calls of its peers that reach out, in %.0f sessions, %.0f are of this tool, %.0f of them came about so; clean sessions seldom go beyond %.1f", g.Calls, g.Sessions, g.Tools[tool], so.ways(tool)[so.way(v)], g.Bar),
	}
	if !v.Session.tainted.empty() {
		c.Evidence = []string{v.Session.tainted.String()}
	}
	return c
}
