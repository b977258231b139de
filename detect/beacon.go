package detect

import (
	"fmt"
	"math"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Beacon finds an agent that contacts, at regular intervals, a destination which it
// did not know when it was new: a hijacked agent that reports to its master.
type Beacon struct{ Prior Prior }

// About implements [Detector].
func (d Beacon) About() About {
	return About{Slot: 7, Name: "beacon", Threat: DataExfiltration, Severity: High,
		Normal: "calls at irregular times, or to a destination that the agent has long called by the clock",
		ASI:    []string{"ASI02", "ASI10"}, ATLAS: []string{"AML.T0086", "AML.T0108"}}
}

func (d Beacon) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks of every event of a mature agent; where no
// destination is told nothing can be odd. What was contacted while the agent was learning, on whatever schedule, is its habit.
func (d Beacon) Judge(v View) Test {
	if !v.Profile.mature() {
		return Test{}
	}
	return v.Profile.volumes.test(beaconings, v.odd(beaconings), v.prior(d.Prior), v.Profile.days)
}

// A beacon is a destination that was new, and how regular its contacts are.
type beacon struct {
	to   uint16
	last uint16  // tick of the last contact, the lowest bits
	gaps numeric // between contacts, in ticks
}

const (
	beaconLeast  = 8                           // intervals that are first looked at, and then whenever they have doubled
	tick         = 4 * time.Second             // so that 16 bits tell three days
	beaconSpell  = 2 * time.Minute / tick      // without a contact that ends a spell of work and so makes an interval
	beaconLate   = 1<<16 - 20*time.Minute/tick // an interval beyond is an event out of order
	regularLeast = 4                           // intervals from which a destination can be called irregular
	oddRegular   = 1e-6
	toldOf       = math.MaxUint16 // n of the intervals of a destination that was reported

	// byChance is the standard deviation of intervals that chance makes, in bits: an
	// exponential one has pi / (sqrt(6) ln 2) = 1.85, and less where none is short.
	byChance = 1.0
)

func tickOf(t event.Timestamp) uint16 { return uint16(max(int64(t)/int64(tick), 0)) }

// beaconing reports whether a call is the one by which contacts with a destination have become too regular.
func beaconing(v View) bool {
	ev := v.Event
	if ev.Name != event.ToolCall || ev.Destination == "" || !leaves(ev) {
		return false
	}
	b := v.Profile.volumes.beacon(hash(ev.Destination))
	if b == nil || b.gaps.n == toldOf {
		return false
	}
	next, fresh := b.next(tickOf(ev.Time))
	n := next.gaps.n
	return fresh && n >= beaconLeast && n&(n-1) == 0 && next.tail() < oddRegular
}

// beacon returns what is followed of a destination, nil for nothing.
func (p *Volumes) beacon(to uint64) *beacon {
	for i := range p.beacons {
		if b := &p.beacons[i]; b.to == mark(to) {
			return b
		}
	}
	return nil
}

// next returns b after a contact, and whether that makes another interval.
func (b beacon) next(now uint16) (after beacon, fresh bool) {
	gap := now - b.last // modulo three days
	if gap > uint16(beaconLate) {
		return b, false
	}
	b.last = now
	if gap <= uint16(beaconSpell) {
		return b, false
	}
	b.gaps.learn(float64(gap))
	return b, true
}

// squares is the sum of squares of the intervals about their mean.
func (b *beacon) squares() float64 {
	n := float64(b.gaps.n)
	return math.Max(float64(float64(b.gaps.variance)/fixed*(n+priorWeight-1))-priorSpread*(priorWeight), 0)
}

// tail is the chance of intervals as regular: the lower tail of chi-square for the
// squares over the variance that chance makes.
func (b *beacon) tail() float64 {
	return distuv.ChiSquared{K: float64(b.gaps.n) - 1}.CDF(b.squares() / (byChance * byChance))
}

// contact follows a contact. A destination that nobody knows takes a place where there
// is one; one that was reported is not looked at again.
func (p *Volumes) contact(to uint64, at event.Timestamp, mature, told bool) {
	now := tickOf(at)
	if b := p.beacon(to); b != nil {
		if b.gaps.n != toldOf {
			*b, _ = b.next(now)
		}
		if told {
			b.gaps.n = toldOf
		}
		return
	}
	if !mature || p.known.has(to) {
		return
	}
	if b := p.vacant(now); b != nil {
		*b = beacon{to: mark(to), last: now}
	}
}

// vacant returns the place of nobody, or else of who is overdue, or irregular, or else of the younger of those that have shown little.
func (p *Volumes) vacant(now uint16) *beacon {
	var best *beacon
	worth := math.MaxInt
	for i := range p.beacons {
		if b := &p.beacons[i]; b.worth(now) < worth {
			best, worth = b, b.worth(now)
		}
	}
	if worth >= regularLeast {
		return nil
	}
	return best
}

// worth is how many regular intervals would be forgotten with a beacon; less than
// regularLeast for one that gives way to another.
func (b *beacon) worth(now uint16) int {
	overdue := float64(now-b.last) > 4*math.Max(b.gaps.usual(), 15)
	switch {
	case b.to == 0:
		return -2
	case b.gaps.n > 0 && overdue, b.gaps.n >= regularLeast && b.squares() > float64(b.gaps.n):
		return -1
	}
	return int(b.gaps.n)
}

// Explain implements [Detector].
func (d Beacon) Explain(v View) Claim {
	ev, p := v.Event, &v.Profile.volumes
	b, _ := p.beacon(hash(ev.Destination)).next(tickOf(ev.Time))
	every := time.Duration(b.gaps.usual() * float64(tick))
	spread := math.Sqrt(b.squares() / float64(b.gaps.n-1))
	return Claim{
		Reason:   fmt.Sprintf("%s contacts %s at regular intervals, and did not know it before", ev.Agent, ev.Destination),
		Observed: fmt.Sprintf("%d intervals of about %s, most within %.0f%%, over some %s", b.gaps.n, every.Round(time.Second), 100*(math.Exp2(spread)-1), (every * time.Duration(b.gaps.n)).Round(time.Minute)),
		Baseline: fmt.Sprintf("intervals that chance makes differ by a factor of %.1f; %.0f%% of contacts are with new destinations", math.Exp2(byChance), 100*p.known.newness()),
		Entities: []Entity{{DestinationEntity, ev.Destination}},
	}
}

func (b *beacon) code(c *coder) {
	c.u16(&b.to)
	c.u16(&b.last)
	b.gaps.code(c)
}
