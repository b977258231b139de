package detect

import (
	"math"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Bouts are what an agent's loops come to that are too short each to say anything: a bout
// is the calls of one session without a pause, and it loops where a few of them repeat.
//
// The evidence is the logarithm of an e-detector (Shin, Ramdas & Rinaldo 2022), of one
// bout in five that loops against the agent's own share p of such bouts,
//
//	S = max(0, S + ln(q/p)) at a bout that loops, S + ln((1-q)/(1-p)) at one that does not
//
// While the agent goes on as it did, S passes s with a chance below exp(-s) for each
// bout from which it may begin.
type bouts struct {
	nats   uint16 // in 1/256
	all    uint8  // bouts; halved with looped when there are too many
	looped uint8
	loops  bool // the one under way does
}

const (
	boutRun   = 5   // repetitions in a row with which a bout loops
	boutShare = 0.2 // of bouts that loop where it is more than the agent's way
	boutsMost = 255
	boutsFew  = 50 // bouts below which the agent's share is not known
	boutUnit  = 256
	boutFar   = 40 // nats beyond which there is no need to know
	toldBouts = 12 // nats from which they are reported
)

// share is the share of bouts that loop.
func (b *bouts) share() float64 { return (float64(b.looped) + 1) / (float64(b.all) + 10) }

// with is the evidence after one more bout, in nats.
func (b *bouts) with(loops bool) float64 {
	if b.all < boutsFew {
		return 0
	}
	p := math.Min(b.share(), boutShare)
	step := math.Log((1 - boutShare) / (1 - p))
	if loops {
		step = math.Log(boutShare / p)
	}
	return math.Max(0, math.Min(float64(b.nats)/boutUnit+step, boutFar))
}

func (b *bouts) count(loops bool) {
	b.nats = uint16(math.Round(b.with(loops) * boutUnit))
	if b.all == boutsMost {
		b.all, b.looped = b.all/2, b.looped/2
	}
	b.all++
	if loops {
		b.looped++
	}
}

// end ends the bout under way.
func (b *bouts) end() {
	if !b.loops {
		b.count(false)
	}
	b.loops = false
}

// repeats reports whether with this call the bout under way begins to loop, and whether that is
// too often by now.
func (l *loop) repeats(ev *event.Event) (begins, odd bool) {
	if l.bouts.loops || l.longest() < boutRun-1 || l.session != mark(hash(ev.Session)) {
		return false, false
	}
	m := callMark(ev)
	for q, n := range l.runs {
		if n == boutRun-1 && m != 0 && m == l.ring[q] {
			return true, l.bouts.with(true) >= toldBouts
		}
	}
	return false, false
}

// repeat takes in that the bout under way begins to loop. What was reported is to be told
// again when it has gone on as long; what was not, sooner.
func (b *bouts) repeat(odd, reported bool) {
	b.count(true)
	b.loops = true
	switch {
	case odd && reported:
		b.nats = 0
	case odd:
		b.nats /= 2
	}
}

func (b *bouts) code(c *coder) {
	c.u16(&b.nats)
	c.octet(&b.all)
	c.octet(&b.looped)
	c.flag(&b.loops)
}
