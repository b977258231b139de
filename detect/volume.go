package detect

import (
	"math"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Volumes are how much an agent does: what it sends out, call by call and hour by
// hour, how fast it calls tools, what that costs, whether it goes in circles, and
// whom it contacts at regular intervals.
//
// A sum counts while its hour or minute lasts, and is learned when that is over,
// unless something was reported in the hour: an incident is no part of the norm. An
// event of a minute that has passed comes too late for the sums.
type Volumes struct {
	minute  uint32      // since 1970, that is being counted; 0 for none
	sum     [2]float32  // of its hour
	calls   counts      // of the minute
	hourly  [2]numeric  // sums of an hour with any; what is spent, as at a usual hour
	season  season      // what hours and days make of what is spent
	heavy   heaviness   // of what is spent in an hour
	beyond  [2]excesses // of what goes out in an hour, and in a call
	sizes   [3]toolSize // of what goes out through a tool; the last is shared by all others
	known   destinations
	pace    pace
	hours   hours // at which something leaves
	trails  [trailSlots]trail
	beacons [2]beacon
	loop    loop
	odd     [surprising]surprises
	flags   uint8 // of the hour: for each detector, that a surprise was counted; and reportedHere
}

// What is summed up over an hour.
const (
	bytesOut = iota
	spending // tokens, or millionths of a dollar where they are not told
	sums
)

// What goes out, of which the tails are followed.
const (
	inHour = iota
	inCall
)

// The detectors of volumes, each with its own count of surprises.
const (
	exfiltrations = iota
	amplifications
	beaconings
	surprising
)

// reportedHere says that there was a finding in this hour.
const reportedHere = 1 << surprising

// toolSize is the size of what goes out through one tool.
type toolSize struct {
	tool  uint16
	bytes numeric
}

// sizeOf returns what is known of a tool: of its own, or of those that share the last slot.
func (p *Volumes) sizeOf(tool string) *toolSize {
	t := mark(hash(tool))
	last := len(p.sizes) - 1
	for i := range p.sizes[:last] {
		if s := &p.sizes[i]; s.tool == t || s.tool == 0 {
			return s
		}
	}
	return &p.sizes[last]
}

// surprises are counted in 1/1024, and fade as those of a [Novelty] do, by the day.
type surprises uint16

const oneSurprise = 1024

func (s *surprises) add(n float64) { *s = surprises(min(int(*s)+int(n*oneSurprise), 1<<16-1)) }

func (s *surprises) fade(days uint32) {
	const all = uint64(memory / (24 * time.Hour))
	lost := (uint64(*s)*uint64(days) + all - 1) / all
	*s -= surprises(min(lost, uint64(*s)))
}

// test asks whether something of a kind surprises, as [Novelty] does.
func (p *Volumes) test(of int, odd bool, prior Prior, days float32) Test {
	return Test{Rate: (float64(p.odd[of])/oneSurprise + prior.A) / (float64(days) + prior.B), Odd: odd}
}

// volumesOdd is whether an event is odd to the detectors of volumes: looked at once, to
// judge it and to learn it.
type volumesOdd struct{ looked, odd [surprising]bool }

// odd reports whether the event in view is odd to a detector of volumes.
func (v View) odd(of int) bool {
	o := &v.volumes
	if o.looked[of] {
		return o.odd[of]
	}
	o.looked[of] = true
	switch of {
	case exfiltrations:
		_, o.odd[of] = trailing(v)
		o.odd[of] = o.odd[of] || exfiltration(v).odd()
	case amplifications:
		o.odd[of] = amplification(v).odd()
	case beaconings:
		o.odd[of] = beaconing(v)
	}
	return o.odd[of]
}

// surprise counts a surprise, at most one in an hour. One that was reported counts
// for a tenth, however many there were.
func (p *Volumes) surprise(of int, reported bool) {
	bit := uint8(1) << of
	if p.flags&bit != 0 {
		return
	}
	p.odd[of].add(odds(reported))
	p.flags |= bit
}

// odds is the chance that something is the agent's own way.
func odds(reported bool) float64 {
	if reported {
		return benignOdds
	}
	return 1
}

// sizesKnown is how many sizes are.
func (p *Volumes) sizesKnown() uint16 {
	n := uint16(0)
	for i := range p.sizes {
		n += min(p.sizes[i].bytes.n, numericRun)
	}
	return n
}

// sizeChance is the chance that a call carries out so much.
func (p *Volumes) sizeChance(s *numeric, v int64) float64 {
	return p.beyond[inCall].chance(s.tail(float64(v)), s.score(float64(v)), p.sizesKnown())
}

// hourChance is the chance that so much goes out in an hour.
func (p *Volumes) hourChance(sum float32) float64 {
	h := &p.hourly[bytesOut]
	return p.beyond[inHour].chance(h.tail(float64(sum)), h.score(float64(sum)), h.n)
}

// offset is what the hour of a minute makes of what is spent in it. Most agents send
// too seldom to learn as much of what goes out.
func (p *Volumes) offset(minute uint32) offset { return p.season.at(minute, &p.hourly[spending]) }

// spendingChance is the chance that so much is spent in the hour of a minute.
func (p *Volumes) spendingChance(sum float32, minute uint32) float64 {
	h := &p.hourly[spending]
	return p.heavy.chance(h.tail(float64(p.offset(minute).without(sum))), h.n)
}

// usualSpending is what is usually spent in the hour of a minute.
func (p *Volumes) usualSpending(minute uint32) float64 {
	return p.offset(minute).with(p.hourly[spending].usual())
}

// surprised reports whether a surprise was counted in the hour of a time: it is
// no news then that the hour is odd.
func (p *Volumes) surprised(of int, at event.Timestamp) bool {
	return p.flags&(1<<of) != 0 && minuteOf(at)/minutesPerHour == p.minute/minutesPerHour
}

// old reports whether an event can say nothing new: a session is told of once, and
// where there are none an hour is.
func (p *Volumes) old(of int, ev *event.Event) bool {
	return ev.Session == "" && p.surprised(of, ev.Time)
}

// minuteOf is the minute of a time, since 1970; never 0, which stands for none.
func minuteOf(t event.Timestamp) uint32 { return uint32(max(int64(t)/int64(time.Minute), 1)) }

const (
	minutesPerHour = 60
	minutesPerDay  = 24 * minutesPerHour
)

// sums are what was sent and spent in the hour of ev before it, and with it. They
// are 0 for an event that comes too late to count.
func (p *Volumes) sums(ev *event.Event) (before, after [sums]float32) {
	switch hour, now := p.minute/minutesPerHour, minuteOf(ev.Time)/minutesPerHour; {
	case now < hour:
		return before, after
	case now == hour:
		before = p.sum
	}
	after = before
	if leaves(ev) {
		after[bytesOut] += float32(max(ev.Bytes.V, 0))
	}
	after[spending] += spends(ev)
	return before, after
}

// called is how many tools were called in the minute of a call, with it; 0 if it
// comes too late to count.
func (p *Volumes) called(ev *event.Event) int {
	switch now := minuteOf(ev.Time); {
	case now > p.minute:
		return 1
	case now == p.minute:
		return int(p.calls.now) + 1
	}
	return 0
}

// pauses reports whether an event of a minute comes after a pause, with which a loop ends.
func (p *Volumes) pauses(now uint32) bool { return now > p.minute+loopPause }

// roll closes the minute, and the hour and the day, before now.
func (p *Volumes) roll(now uint32) {
	if now <= p.minute {
		return
	}
	learned := p.flags&reportedHere == 0
	p.calls.close(learned)
	if p.pauses(now) {
		p.loop.restart(0)
	}
	if now/minutesPerHour != p.minute/minutesPerHour {
		for i := range p.sum {
			if p.sum[i] == 0 {
				continue
			}
			sum := float64(p.sum[i])
			if i == spending {
				sum = float64(p.offset(p.minute).without(p.sum[i]))
				p.heavy.learn(p.hourly[i].tail(sum), p.hourly[i].n, odds(!learned))
			} else {
				p.beyond[inHour].learn(p.hourly[i].score(sum), p.hourly[i].n, odds(!learned))
			}
			if learned {
				if i == spending {
					p.season.learn(p.minute, float64(p.sum[i]), &p.hourly[i])
				}
				p.hourly[i].learn(sum)
			}
		}
		p.sum, p.flags = [sums]float32{}, 0
	}
	if days := now/minutesPerDay - p.minute/minutesPerDay; days > 0 && p.minute > 0 {
		p.pace.close(days)
		for i := range p.odd {
			p.odd[i].fade(days)
		}
	}
	p.minute = now
}

// learn takes in an event that was judged.
func (p *Volumes) learn(v View, suspect, reported bool) {
	ev := v.Event
	if ev.Name != event.ToolCall && ev.Name != event.ModelCall {
		return
	}
	odd := [surprising]bool{v.odd(exfiltrations), v.odd(amplifications), v.odd(beaconings)}
	before, after := p.sums(ev)
	now := minuteOf(ev.Time)
	p.roll(now)
	if reported {
		p.flags |= reportedHere
	}
	for of, odd := range odd {
		if odd && v.Profile.mature() {
			p.surprise(of, reported)
		}
	}
	if now/minutesPerHour == p.minute/minutesPerHour {
		p.sum = after
	}
	if ev.Name != event.ToolCall {
		return
	}
	if now == p.minute && p.calls.now < math.MaxUint16 {
		p.calls.now++
	}
	p.loop.learn(ev, reported)
	if leaves(ev) {
		p.left(v, suspect, reported, odd[beaconings], before[bytesOut] == 0 && after[bytesOut] > 0)
	} else if effectful(ev) && ev.Destination != "" && !suspect && !reported {
		p.known.learn(hash(ev.Destination)) // whom it pays, or whose access it changes, is no stranger either
	}
}

// left learns of a call by which something left the agent, the first of its hour to say how much or not. Contacts are counted
// always; what is suspect makes no destination known and no size usual.
func (p *Volumes) left(v View, suspect, reported, beacon, first bool) {
	ev := v.Event
	suspect = suspect || reported
	p.pace.today = min(p.pace.today, math.MaxUint16-1) + 1
	if !suspect && first {
		p.hours.learn(ev.Time)
	}
	if ev.Bytes.OK {
		s := p.sizeOf(ev.Tool)
		p.beyond[inCall].learn(s.bytes.score(float64(ev.Bytes.V)), p.sizesKnown(), odds(reported))
		if !suspect {
			if s != &p.sizes[len(p.sizes)-1] {
				s.tool = mark(hash(ev.Tool))
			}
			s.bytes.learn(float64(ev.Bytes.V))
		}
	}
	if asked, known := v.Session.asked(ev.Effect); known && ev.Effect.Changes() && !suspect && (ev.Destination == "" || p.trail(hash(ev.Destination)) == nil) {
		p.known.wish(asked)
	}
	if ev.Destination == "" {
		return
	}
	to := hash(ev.Destination)
	p.contact(to, ev.Time, v.Profile.mature(), beacon && reported)
	p.follow(v, reported)
	if !suspect {
		p.known.learn(to)
	}
}

func (p *Volumes) code(c *coder) {
	c.u32(&p.minute)
	for i := range sums {
		c.f32(&p.sum[i])
		p.hourly[i].code(c)
	}
	p.season.code(c)
	c.u16((*uint16)(&p.heavy))
	for i := range p.beyond {
		p.beyond[i].code(c)
	}
	p.calls.code(c)
	for i := range p.sizes {
		c.u16(&p.sizes[i].tool)
		p.sizes[i].bytes.code(c)
	}
	p.known.code(c)
	p.pace.code(c)
	p.hours.code(c)
	for i := range p.trails {
		p.trails[i].code(c)
	}
	for i := range p.beacons {
		p.beacons[i].code(c)
	}
	p.loop.code(c)
	for i := range p.odd {
		c.u16((*uint16)(&p.odd[i]))
	}
	c.u8(&p.flags, 2*reportedHere)
}
