package detect

import (
	"fmt"
	"math"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Exfiltration finds a call that carries far more out of the agent than its calls
// and hours do, the more readily where the destination is new to it, where hardly anything leaves at
// that hour of the day, where sensitive data was read in the session and where nobody asked for anything to be sent.
type Exfiltration struct{ Prior Prior }

// About implements [Detector].
func (d Exfiltration) About() About {
	return About{Slot: 5, Name: "exfiltration", Threat: DataExfiltration, Severity: High,
		Normal: "a destination that the agent sends to, in its usual amounts, or a user who asks for it",
		ASI:    []string{"ASI02"}, ATLAS: []string{"AML.T0086"}}
}

func (d Exfiltration) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks of every event of a mature agent; only a
// call that says how much it carries out can be odd. Where the destination is not
// told it counts as known; where no sensitivity is told, nothing sensitive was read.
func (d Exfiltration) Judge(v View) Test {
	if !v.Profile.mature() {
		return Test{}
	}
	return v.Profile.volumes.test(exfiltrations, v.odd(exfiltrations), v.prior(d.Prior), v.Profile.days)
}

const (
	leastOut = 4096 // bytes that are no volume yet
	oddOut   = 2e-4 // chance below which an outflow of weight one is odd

	// What makes an outflow less of a threat divides the chance that it may have.
	notSensitive = 1.0 / 8 // nothing sensitive was read in the session as far as is known
	askedFor     = 1.0 / 8 // the user asked for the effect

	// Where one call makes most of an hour, its size is the better question as soon
	// as so many sizes are known; until then the hour's answer counts for less.
	sizesLeast  = 16
	unknownSize = 1.0 / 8
)

// An outflow is how unusual it is what a call carries out, and how much that
// weighs. Its weight is 0 if there is nothing to ask.
type outflow struct {
	size, hour float64 // chances of as much in a call through this tool, and in an hour
	weight     float64
	daily      float64 // outflows in a day, at least one
	isNew      bool    // the destination
	sum        float32 // bytes in the hour so far
}

// p is the chance of an outflow as unusual in a day, by Bonferroni over both questions
// and all times that they are asked.
func (o outflow) p() float64 {
	return math.Min(1, 2*math.Min(o.size*o.daily, o.hour*math.Min(o.daily, 24)))
}

func (o outflow) odd() bool { return o.weight > 0 && o.p() < oddOut*o.weight }

// newnessWeight is what an outflow weighs for its destination. Half of the weight
// goes to all contacts, the other half to those with new destinations in proportion to how
// rare these are with this agent; so the mean is one, and the chance of an odd
// call stays what it is (weighted p-values: Genovese, Roeder & Wasserman 2006).
func rareWeight(rare bool, chance float64) float64 {
	if !rare {
		return 0.5
	}
	return 0.5 + 0.5/chance
}

func exfiltration(v View) outflow {
	ev, p := v.Event, &v.Profile.volumes
	if !leaves(ev) || !ev.Bytes.OK || p.old(exfiltrations, ev) {
		return outflow{}
	}
	_, after := p.sums(ev)
	o := outflow{size: 1, hour: 1, sum: after[bytesOut]}
	if o.sum < leastOut && ev.Bytes.V < leastOut {
		return outflow{}
	}
	s, h := &p.sizeOf(ev.Tool).bytes, &p.hourly[bytesOut]
	if ev.Bytes.V >= leastOut && !s.near(float32(ev.Bytes.V)) {
		o.size = p.sizeChance(s, ev.Bytes.V)
	}
	most := float32(ev.Bytes.V) > o.sum/2
	if o.sum >= leastOut && !h.near(o.sum) && !(most && s.n >= sizesLeast) && !p.surprised(exfiltrations, ev.Time) {
		o.hour = p.hourChance(o.sum)
		if most {
			o.hour = math.Min(1, o.hour/unknownSize)
		}
	}
	if o.size == 1 && o.hour == 1 {
		return outflow{}
	}
	o.daily = p.pace.daily()
	o.isNew = ev.Destination != "" && !p.known.has(hash(ev.Destination))
	o.weight = rareWeight(o.isNew, p.known.newness()) * p.hours.weight(ev.Time)
	if !v.Session.sensitive() && ev.Sensitivity != event.Confidential && ev.Sensitivity != event.Restricted {
		o.weight *= notSensitive
	}
	if asked, known := v.Session.asked(ev.Effect); known && ev.Effect.Changes() {
		o.weight *= rareWeight(!asked, p.known.unasked())
	}
	return o
}

// Explain implements [Detector].
func (d Exfiltration) Explain(v View) Claim {
	ev, p, o := v.Event, &v.Profile.volumes, exfiltration(v)
	if t, odd := trailing(v); odd && !o.odd() {
		return t.explain(ev, p)
	}
	where := "a destination that is not told"
	if ev.Destination != "" {
		where = ev.Destination
		if o.isNew {
			where += ", new to it"
		}
	}
	wish := "what the user asked for is not known"
	if asked, known := v.Session.asked(ev.Effect); known && asked {
		wish = fmt.Sprintf("the user asked for effect %s", ev.Effect)
	} else if known {
		wish = fmt.Sprintf("the user did not ask for effect %s", ev.Effect)
	}
	read := "no sensitive data is known to have been read in this session"
	if v.Session.sensitive() {
		read = "sensitive data was read in this session before"
	}
	s, h := &p.sizeOf(ev.Tool).bytes, &p.hourly[bytesOut]
	c := Claim{
		Reason:   fmt.Sprintf("%s sent %s out%s, far more than it does", ev.Agent, bytesText(float64(ev.Bytes.V)), by(ev)),
		Observed: fmt.Sprintf("%s to %s; %s; %s; %s in the hour from %s", bytesText(float64(ev.Bytes.V)), where, read, wish, bytesText(float64(o.sum)), hourText(ev.Time)),
		Baseline: fmt.Sprintf("in %s, about %s each (chance of as much: %.1g); in %s with any, about %s (chance: %.1g); %.0f%% of contacts with new destinations",
			remembered(s.n, numericRun, "calls"), bytesText(s.usual()), o.size, remembered(h.n, numericRun, "hours"), bytesText(h.usual()), o.hour, 100*p.known.newness()),
	}
	if ev.Destination != "" {
		c.Entities = []Entity{{DestinationEntity, ev.Destination}}
	}
	if chance := p.hours.chance(ev.Time); chance < 0.01 {
		c.Baseline += fmt.Sprintf("; %.1g%% of what leaves does so at this hour of the day", 100*chance)
	}
	if o.size > o.hour {
		c.Reason = fmt.Sprintf("%s sent %s out in an hour, far more than it does", ev.Agent, bytesText(float64(o.sum)))
	}
	return c
}
