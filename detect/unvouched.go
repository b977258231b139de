package detect

import (
	"fmt"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// unvouched returns an argument with a value that nobody in the session vouches for, and
// where it is from: memory, or the model itself, which may repeat what it was told in another
// session. It is one of an unknown flow if there is any.
func unvouched(v View) (arg string, origin event.Origin, ok bool) {
	before := v.Profile.habit(flows)
	for _, m := range v.Event.ArgOrigins {
		if m.Value != event.FromMemory && m.Value != event.FromModel {
			continue
		}
		if !ok || !before.knows(unvouchedItem(v.Event, m.Key, m.Value)) {
			arg, origin, ok = m.Key, m.Value, true
		}
	}
	return arg, origin, ok
}

// unsaid is the flow of a value that nobody vouches for, 0 for none, and whether it is odd:
// it is new to the agent, and so is where the call goes, which surely nobody asked for.
func unsaid(v View) (item uint64, odd bool) {
	ev := v.Event
	arg, origin, ok := unvouched(v)
	if !ok {
		return 0, false
	}
	item = unvouchedItem(ev, arg, origin)
	asked, told := v.Session.asked(ev.Effect)
	return item, told && !asked && (ev.Destination == "" || elsewhere(v)) && !v.Profile.habit(flows).knows(item)
}

// unvouchedItem is the flow of a value into an argument; its first part is no tool's name.
func unvouchedItem(ev *event.Event, arg string, origin event.Origin) uint64 {
	return hash("\x00", string(origin), ev.Tool, arg)
}

// strays reports whether a call carries something to where nothing of this agent went,
// or deletes. All others are left alone, and do not push out of the profile which flows of
// untrusted values are known.
func strays(v View) bool {
	to := v.Event.Destination
	if to == "" {
		return v.Event.Effect == event.Delete
	}
	return !v.Profile.volumes.known.has(hash(to))
}

// explainUnvouched explains a call whose values nobody in the session vouches for.
func (d Provenance) explainUnvouched(v View) Claim {
	ev, n := v.Event, v.Profile.habit(flows)
	arg, origin, _ := unvouched(v)
	from := "the model's own words"
	if origin == event.FromMemory {
		from = "memory"
	}
	wish := fmt.Sprintf("the user did not ask for effect %s", ev.Effect)
	normal := "the user asks for the effect, or the value comes from the user or from what a tool returned in this session"
	if ev.Destination != "" {
		wish += fmt.Sprintf(", and %s is new to the agent", ev.Destination)
		normal += ", or a destination that the agent knows"
	}
	return Claim{
		Reason:   fmt.Sprintf("%s called %s, unasked, with %q taken from %s, as it never did", ev.Agent, ev.Tool, arg, from),
		Observed: fmt.Sprintf("%s -> %s.%s, effect %s; %s", from, ev.Tool, arg, ev.Effect, wish),
		Baseline: fmt.Sprintf("in %d effectful calls, %.1f unasked ones by a new way; %d ways known", n.trials, n.surprises, n.known()),
		Normal:   normal,
	}
}
