package detect

import (
	"math"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// known is what a group knows, less what one role in it has brought: how a call of
// that role would look to the group if the role were new to it.
type known struct{ group, less *Group }

// surprise says how far a call that reaches out is from how the group's calls come
// about; 0 for other events. It is
//
//	sqrt(1 + tool + way + flow) (1/2 + g) (1 + n + fresh/4) s u
//
// The sum is the surprise in nats at which tool is called for what the user asked for,
// at how the call came about as a whole, and at the least likely way that a value took:
// tool = -ln P(tool | asked for), backed off to all calls; way = -ln P(way | tool), backed
// off to its effect and to all calls; flow the largest -ln((f + 1/2)/(n_a + 5)) over the
// arguments, of f values among n_a that came from that origin through that source tool.
// Its root is taken because a job that is new to the group makes all of these large.
//
// The factors tell attacks from such jobs: g is 1 where no argument is in the user's own
// words; n is 1 where an untrusted value is new to the group, and fresh the surprise that
// a value of this origin is new; s is 3/2 where an untrusted value comes through a tool
// that the agent did not call in the user's words; u is 3/2 where nobody asked for what
// the call changes, and 9/4 where nobody asked for any change. They are round numbers, chosen on
// real traces; the scale does not matter, because the bar is set from the group's own sessions.
func (k known) surprise(v View) float64 {
	ev := v.Event
	if !reaches(ev) {
		return 0
	}
	way := k.way(v)
	flow, fresh, unnamed := 0.0, 0.0, false
	for _, m := range ev.ArgOrigins {
		source, _ := ev.ArgSources.Lookup(m.Key)
		took := k.flows(hash(string(m.Value), source, ev.Tool, m.Key))
		flow = math.Max(flow, -math.Log((took+0.5)/(k.args(hash(ev.Tool, m.Key))+5)))
		if m.Value != event.FromUser && k.fresh(ev, m.Key) {
			fresh = math.Max(fresh, -math.Log(k.freshness(ev, m)))
		}
		unnamed = unnamed || m.Value == event.FromUntrusted && !v.Session.calledInWords(source)
	}
	rarity := flow - math.Log(k.chance(ev, way)) - math.Log(k.choice(v))
	factor := 1 + float64(fresh/4)
	if way&wayFresh != 0 {
		factor++
	}
	if way&wayWorded == 0 {
		factor *= 1.5
	} else {
		factor *= 0.5
	}
	if unnamed {
		factor *= 1.5
	}
	if way&wayUnasked != 0 && ev.Effect.Changes() {
		factor *= 1.5
		if v.Session.wish() == 0 {
			factor *= 1.5
		}
	}
	return float64(math.Sqrt(1+rarity) * factor)
}

// reaches reports whether ev is a call that can change the world, or tell it
// something: whoever fetches an address tells its server what stands in it.
func reaches(ev *event.Event) bool {
	return effectful(ev) || ev.Name == event.ToolCall && ev.Effect == event.Fetch
}

// effectful reports whether ev is a call that can change the world.
func effectful(ev *event.Event) bool { return ev.Name == event.ToolCall && ev.Effect.Changes() }

// way says how a call came about.
func (k known) way(v View) int {
	way := 0
	if k.unasked(v) {
		way |= wayUnasked
	}
	for _, m := range v.Event.ArgOrigins {
		switch m.Value {
		case event.FromUser:
			way |= wayWorded
		case event.FromUntrusted:
			way |= wayUntrusted
			if k.fresh(v.Event, m.Key) {
				way |= wayFresh
			}
		}
	}
	return way
}

// unasked reports whether nobody asked for the effect of a call. Where a group's
// shippers mostly tell what users ask for, silence means that he asked for no effect.
func (k known) unasked(v View) bool {
	asked, told := v.Session.asked(v.Event.Effect)
	return !asked && (told || k.group.Told > k.group.Calls/2)
}

// fresh reports whether an argument has a value that the group never gave it.
func (k known) fresh(ev *event.Event, arg string) bool {
	values, _ := ev.ArgHashes.Lookup(arg)
	for _, value := range values {
		if k.values(hash(ev.Tool, arg, value)) <= 0 {
			return true
		}
	}
	return false
}

func (k known) flows(key uint64) float64 {
	if k.less == nil {
		return k.group.Flows[key]
	}
	return k.group.Flows[key] - k.less.Flows[key]
}

func (k known) args(key uint64) float64 {
	if k.less == nil {
		return k.group.Args[key]
	}
	return k.group.Args[key] - k.less.Args[key]
}

func (k known) values(key uint64) float64 {
	if k.less == nil {
		return k.group.Values[key]
	}
	return k.group.Values[key] - k.less.Values[key]
}

// ways returns how often calls came about in which way.
func (k known) ways(key uint64) (w Ways) {
	if all := k.group.Ways[key]; all != nil {
		w = *all
	}
	if k.less != nil {
		if own := k.less.Ways[key]; own != nil {
			for i := range w {
				w[i] -= own[i]
			}
		}
	}
	return w
}

func (k known) usage(key uint64) (u Usage) {
	if all := k.group.Fresh[key]; all != nil {
		u = *all
	}
	if k.less != nil {
		if own := k.less.Fresh[key]; own != nil {
			u.All -= own.All
			u.Special -= own.Special
		}
	}
	return u
}

// backOff is how many calls of a tool weigh as much as what is known of calls of
// the same effect, and these as what is known of all; and how many for what the user
// asked for as much as all.
const backOff = 2

// choice is how likely a call is of this tool, where the user asked for what he did. A
// tool that is new to the group is taken for as likely as its effect: new work brings
// new tools. A group of several roles knows no better what users ask of a new one.
func (k known) choice(v View) float64 {
	n, calls := k.group.Tools[hash(v.Event.Tool)], k.group.Calls
	if k.less != nil {
		n -= k.less.Tools[hash(v.Event.Tool)]
		calls -= k.less.Calls
	}
	if n <= 0 {
		n = k.ways(effectKey(v.Event)).sum()
	}
	p := (n + 0.5) / (calls + 5)
	if k.group.Roles > 0 {
		return p
	}
	wish := v.Session.wish()
	return (k.group.Jobs[choiceKey(wish, v.Event.Tool)] + float64(backOff*p)) / (k.group.Jobs[wishKey(wish)] + backOff)
}

// chance is how likely a call of this tool comes about in a way.
func (k known) chance(ev *event.Event, way int) float64 {
	const all = float64(len(Ways{}))
	p := k.ways(allWays).share(way, 1/all, all/2)
	p = k.ways(effectKey(ev)).share(way, p, backOff)
	return k.ways(hash(ev.Tool)).share(way, p, backOff)
}

// share is the share of a way, where prior weighs as much as so many calls.
func (w Ways) share(way int, prior, weight float64) float64 {
	return (w[way] + float64(weight*prior)) / (w.sum() + weight)
}

func (w Ways) sum() (sum float64) {
	for _, n := range w {
		sum += n
	}
	return sum
}

// freshness is how likely a value of an argument that came from where this one did is new.
func (k known) freshness(ev *event.Event, m event.Member[event.Origin]) float64 {
	p := k.usage(originKey(ev, m.Value)).share(0.5)
	return k.usage(hash(ev.Tool, m.Key, string(m.Value))).share(p)
}

// share is the share of the special, where prior weighs as much as backOff.
func (u Usage) share(prior float64) float64 {
	return (u.Special + float64(backOff*prior)) / (u.All + backOff)
}

// allWays is the key of the ways of all calls; a hash is never 0. effectKey and
// originKey are keys of what is known of an effect: their first part is no tool's name.
const allWays = 0

// wishKey is the key of what is known of calls where the user asked for certain
// effects, and choiceKey of those that are of one tool.
func wishKey(wish uint16) uint64 { return uint64(wish)<<1 | 1 }

func choiceKey(wish uint16, tool string) uint64 { return wishKey(wish) ^ hash(tool) }

func effectKey(ev *event.Event) uint64 { return hash("\x00effect", string(ev.Effect)) }

func originKey(ev *event.Event, o event.Origin) uint64 {
	return hash("\x00effect", string(ev.Effect), string(o))
}
