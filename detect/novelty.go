package detect

import (
	"math"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A kind is a kind of thing that an agent may do for the first time.
type kind uint8

const (
	privilegesUsed kind = iota // privileges exercised
	breaches                   // privileges exercised beyond the principal's entitlement
	flows                      // flows into effectful calls that nobody asked for, of values that are untrusted or that nobody vouches for
	recalls                    // effectful tools that acted on poisoned memory
	delegations                // how much of its own scopes it hands on; see extents
	credentials                // how long after their expiry credentials are used, and which scopes they carry
	parts                      // models, servers and builds
	signals                    // how far its telemetry has been from whole
	rests                      // what is done again after long; see Rhythms
	kinds
)

// slots is how many distinct things of a kind are remembered.
func (k kind) slots() int { return [kinds]int{16, 8, 16, 4, 1, 1 + scopeWords, 7, allSignals, 0}[k] }

const allSlots = 16 + 8 + 16 + 4 + 1 + (1 + scopeWords) + 7 + allSignals

// items is where the things of a kind are remembered in a profile.
func (k kind) items(p *Profile) []uint16 {
	from := [kinds]int{0, 16, 24, 40, 44, 45, 46 + scopeWords, 53 + scopeWords, allSlots}[k]
	return p.items[from : from+k.slots()]
}

// Novelty is what is known of how often an agent does a thing of one kind that it
// never did before.
//
// Surprises are taken for a Poisson process with a Gamma(A, B) prior on its rate,
// so the rate expected is (surprises + A) / (days + B): an agent that surprises
// often is expected to surprise again. A flood of new items makes each of them
// weigh less, and an item pushed out of the slots errs to silence.
type Novelty struct {
	trials    uint32  // occasions to surprise
	surprises float32 // since the agent is mature
	learned   uint32  // hour, since 1970, in which an item was last learned without having been reported; of parts, or in which one more than enough unlisted ones was
}

// A habit is a Novelty with the things done: the one done last in front.
type habit struct {
	*Novelty
	items []uint16
}

func (p *Profile) habit(k kind) habit { return habit{&p.novelties[k], k.items(p)} }

// A Prior is a Gamma prior on a rate of surprises: as if in B days A had been
// seen. A below one says that agents differ much.
//
// Besides, whoever is new shows new sides: of things that come by and by, in the
// long run as a power of time, the rate falls with age as Youth/age. Youth is the
// surprises expected while the agent becomes e times as old.
type Prior struct {
	A     float64 `yaml:"surprises" json:"surprises"`
	B     float64 `yaml:"days" json:"days"`
	Youth float64 `yaml:"youth" json:"youth"`
}

// proper reports whether p is a distribution.
func (p Prior) proper() bool {
	return p.A > 0 && p.B > 0 && p.A < 1e6 && p.B < 1e6 && p.Youth >= 0 && p.Youth < 1e6
}

// An occasion is what one event is to a Novelty.
type occasion struct {
	item  uint64 // the thing done, 0 if there is none to remember
	trial bool   // the event could have surprised
	odd   bool   // and did
}

// test asks whether an occasion surprises of an agent that was judged for so many
// days, and whose first event was age days ago.
func (n *Novelty) test(o occasion, prior Prior, days, age float32) Test {
	rate := (float64(n.surprises)+prior.A)/(float64(days)+prior.B) + prior.Youth/float64(max(age, 1))
	return Test{Rate: rate, Odd: o.odd}
}

// benignOdds is how much the first surprise counts that was reported: the chance, as
// long as nobody has looked, that it was the agent's own way. The second counts twice as
// much, the tenth in full: who surprises so often has a habit. Would the first, one
// attack would hide the next; would the tenth not, an agent that likes new things
// would never be believed.
const benignOdds = 0.1

// again is how much one more surprise counts that is reported, of an agent whose
// surprises came to this: what m reported ones come to is benignOdds m (m + 1) / 2.
func again(surprises float32) float32 { return float32(math.Min(benignOdds*(reports(surprises)+1), 1)) }

// latest is how much the last of them counted.
func latest(surprises float32) float32 { return float32(math.Min(benignOdds*reports(surprises), 1)) }

// reports is how many surprises that were reported come to as much, as far as none of them
// counts in full.
func reports(surprises float32) float64 {
	return math.Sqrt(0.25+2*float64(surprises)/benignOdds) - 0.5
}

// hourOf is the hour of a time, since 1970.
func hourOf(t event.Timestamp) uint32 { return uint32(max(int64(t)/int64(time.Hour), 0)) }

// admit takes an occasion in and reports whether its item is to be remembered. An
// item that was reported is known from then on, so that it is reported once; one that
// passed for want of budget is learned at most once in an hour, so that a flood of new
// things cannot make them all normal. While the agent itself is new, everything is:
// items are learned, none counts.
func (n *Novelty) admit(o occasion, at event.Timestamp, mature, reported bool) bool {
	if !o.trial {
		return false
	}
	n.trials++
	switch {
	case o.item == 0:
		return false
	case !o.odd || !mature:
	case reported:
		n.surprises += again(n.surprises)
	case hourOf(at) > n.learned:
		n.surprises++
		n.learned = hourOf(at)
	default:
		return false
	}
	return true
}

// fade forgets a share of the surprises.
func (n *Novelty) fade(share float32) { n.surprises -= float32(n.surprises * share) }

func (n habit) knows(item uint64) bool {
	fp := mark(item)
	for _, have := range n.items {
		if have == fp {
			return true
		}
	}
	return false
}

// remember makes item the one done last, in place of the one done longest ago.
func (n habit) remember(item uint64) {
	newest := mark(item)
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
func (n habit) known() int {
	for i, have := range n.items {
		if have == 0 {
			return i
		}
	}
	return len(n.items)
}

// fingerprint halves a hash; zero stays for an empty slot.
func fingerprint(item uint64) uint32 {
	if fp := uint32(item>>32) ^ uint32(item); fp != 0 {
		return fp
	}
	return 1
}

// mark quarters a hash: one in 65,536 new things is taken for a known one, and
// passes. Zero stays for an empty slot.
func mark(item uint64) uint16 {
	fp := fingerprint(item)
	if m := uint16(fp>>16) ^ uint16(fp); m != 0 {
		return m
	}
	return 1
}
