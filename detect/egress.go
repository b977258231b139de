package detect

import (
	"math/bits"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// leaves reports whether by a call something leaves the agent: it sends or shares,
// or fetches, writes or executes something at a destination.
func leaves(ev *event.Event) bool {
	if ev.Name != event.ToolCall {
		return false
	}
	switch ev.Effect {
	case event.Send, event.Share:
		return true
	case event.Fetch, event.Write, event.Execute, "":
		return ev.Destination != ""
	}
	return false
}

// sensitive reports whether an event lets the agent see what is confidential or restricted.
func sensitive(ev *event.Event) bool {
	return (ev.Sensitivity == event.Confidential || ev.Sensitivity == event.Restricted) &&
		(ev.Effect == event.Read || ev.Effect == event.Fetch || ev.Name == event.ToolResult)
}

// destinations are those that an agent has contacted, the last nine to eighteen of
// them: two Bloom filters of 48 bits, of which the older makes room when the other is
// as full as it may be. About one new destination in six is taken for a known one, and passes for it.
type destinations struct {
	recent, older [3]uint16
	returns       uint16 // share of contacts that were with a known one, in 1/65536
	contacts      uint8  // up to contactsRun
	wishes        uint8  // those of which it is known what the user asked for, up to contactsRun
	asked         uint16 // share of these that the user asked for, in 1/65536
}

const (
	bloomBits   = 48
	bloomFull   = 16        // bits set: about nine destinations
	contactsRun = 64        // contacts that returns remembers
	allReturns  = 1<<16 - 1 // returns where all contacts were with known ones
)

func bloom(to uint64) (i, j uint) { return uint(to % bloomBits), uint(to >> 32 % bloomBits) }

func has(filter *[3]uint16, to uint64) bool {
	i, j := bloom(to)
	return (filter[i/16]>>(i%16))&(filter[j/16]>>(j%16))&1 != 0
}

// has reports whether a destination is known.
func (d *destinations) has(to uint64) bool { return has(&d.recent, to) || has(&d.older, to) }

// newness is the chance that a contact of this agent is with a destination that
// is new, as far as it remembers: an agent that writes to somebody else each time surprises nobody with it.
func (d *destinations) newness() float64 {
	n := float64(d.contacts)
	return (float64((1-float64(d.returns)/allReturns)*n) + 1) / (n + 1)
}

// unasked is the chance that what leaves this agent leaves without the user having asked for it.
func (d *destinations) unasked() float64 {
	n := float64(d.wishes)
	return (float64((1-float64(d.asked)/allReturns)*n) + 1) / (n + 1)
}

// wish learns whether the user asked for what leaves.
func (d *destinations) wish(asked bool) {
	share := 0.0
	if asked {
		share = allReturns
	}
	d.wishes = min(d.wishes+1, contactsRun)
	d.asked = uint16(float64(d.asked) + (share-float64(d.asked))/float64(d.wishes))
}

func (d *destinations) learn(to uint64) {
	returned := 0.0
	if d.has(to) {
		returned = allReturns
	}
	d.contacts = min(d.contacts+1, contactsRun)
	d.returns = uint16(float64(d.returns) + (returned-float64(d.returns))/float64(d.contacts))
	if has(&d.recent, to) {
		return
	}
	i, j := bloom(to)
	d.recent[i/16] |= 1 << (i % 16)
	d.recent[j/16] |= 1 << (j % 16)
	set := 0
	for _, word := range d.recent {
		set += bits.OnesCount16(word)
	}
	if set >= bloomFull {
		d.older, d.recent = d.recent, [3]uint16{}
	}
}

func (d *destinations) code(c *coder) {
	for i := range d.recent {
		c.u16(&d.recent[i])
		c.u16(&d.older[i])
	}
	c.u16(&d.returns)
	c.u8(&d.contacts, contactsRun+1)
	c.u16(&d.asked)
	c.u8(&d.wishes, contactsRun+1)
}

// seldomAstray is the largest share of an agent's contacts that may be unasked and with new
// destinations, as far as the two are independent, for one of them to say anything.
const seldomAstray = 1.0 / 8

// astray reports whether an effectful call goes to a new destination, of an agent that seldom
// sends unasked to new ones. Whether this one was asked for, its session knows.
func (p *Volumes) astray(ev *event.Event) bool {
	return effectful(ev) && ev.Destination != "" && !p.known.has(hash(ev.Destination)) && p.known.newness()*p.known.unasked() <= seldomAstray
}
