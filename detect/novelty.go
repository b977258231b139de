package detect

import (
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// noveltySlots is how many distinct items one Novelty remembers.
const noveltySlots = 16

// Novelty is what is known of how often an agent does a thing of a kind it never
// did before, and which things it did: the one done last in front.
//
// Surprises are taken for a Poisson process with a Gamma(A, B) prior on its rate,
// so the rate expected is (surprises + A) / (days + B): an agent that surprises
// often is expected to surprise again. A flood of new items makes each of them
// weigh less, and an item pushed out of the slots errs to silence.
type Novelty struct {
	trials    uint32  // occasions to surprise
	surprises float32 // since the agent is mature
	learned   uint32  // hour, since 1970, in which an item was last learned without having been reported
	items     [noveltySlots]uint32
}

// A Prior is a Gamma prior on a rate of surprises: as if in B days A had been
// seen. A below one says that agents differ much.
type Prior struct {
	A float64 `yaml:"surprises"`
	B float64 `yaml:"days"`
}

// proper reports whether p is a distribution.
func (p Prior) proper() bool { return p.A > 0 && p.B > 0 && p.A < 1e6 && p.B < 1e6 }

// An occasion is what one event is to a Novelty.
type occasion struct {
	trial bool   // the event could have surprised
	odd   bool   // and did
	item  uint64 // the thing done, 0 if there is none to remember
}

// test asks whether an occasion surprises an agent known for so many days.
func (n *Novelty) test(o occasion, prior Prior, days float32) Test {
	return Test{Rate: (float64(n.surprises) + prior.A) / (float64(days) + prior.B), Odd: o.odd}
}

// benignOdds is how much a surprise counts that was reported: the chance, as long
// as nobody has looked, that it was the agent's own way. Counted in full, one
// attack would hide the next; not counted, an agent that likes new things would
// never be believed.
const benignOdds = 0.1

// hourOf is the hour of a time, since 1970.
func hourOf(t event.Timestamp) uint32 { return uint32(max(int64(t)/int64(time.Hour), 0)) }

// learn takes an occasion in. An item that was reported is known from then on,
// so that it is reported once; one that passed for want of budget is learned at
// most once in an hour, so that a flood of new things cannot make them all normal.
// While the agent itself is new, everything is: items are learned, none counts.
func (n *Novelty) learn(o occasion, at event.Timestamp, mature, reported bool) {
	if !o.trial {
		return
	}
	n.trials++
	switch {
	case o.item == 0:
	case !o.odd || !mature:
		n.remember(o.item)
	case reported:
		n.surprises += benignOdds
		n.remember(o.item)
	case hourOf(at) > n.learned:
		n.surprises++
		n.learned = hourOf(at)
		n.remember(o.item)
	}
}

// fade forgets a share of the surprises.
func (n *Novelty) fade(share float32) { n.surprises -= float32(n.surprises * share) }

func (n *Novelty) knows(item uint64) bool {
	fp := fingerprint(item)
	for _, have := range n.items {
		if have == fp {
			return true
		}
	}
	return false
}

// remember makes item the one done last, in place of the one done longest ago.
func (n *Novelty) remember(item uint64) {
	newest := fingerprint(item)
	carry := newest
	for i, have := range n.items {
		n.items[i] = carry
		if have == newest || have == 0 {
			return
		}
		carry = have
	}
}

// known is the number of items remembered.
func (n *Novelty) known() int {
	for i, have := range n.items {
		if have == 0 {
			return i
		}
	}
	return noveltySlots
}

// fingerprint halves a hash; zero stays for an empty slot.
func fingerprint(item uint64) uint32 {
	if fp := uint32(item>>32) ^ uint32(item); fp != 0 {
		return fp
	}
	return 1
}
