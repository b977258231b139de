package detect

import (
	"fmt"
	"math"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Exfiltration finds a call that carries far more out of the agent than its calls
// and hours do, the more readily where the destination is new to it, where sensitive
// data was read in the session and where nobody asked for anything to be sent.
type Exfiltration struct{ Prior Prior }

// About implements [Detector].
func (d Exfiltration) About() About {
	return About{Slot: 5, Name: "exfiltration", Threat: DataExfiltration, Severity: High,
		ASI: []string{"ASI02"}, ATLAS: []string{"AML.T0086"}}
}

func (d Exfiltration) prior() Prior { return d.Prior }

// Judge implements [Detector]. It asks of every event of a mature agent; only a
// call that says how much it carries out can be odd. Where the destination is not
// told it counts as known; where no sensitivity is told, nothing sensitive was read.
func (d Exfiltration) Judge(v View) Test {
	if !v.Profile.mature() {
		return Test{}
	}
	return v.Profile.volumes.test(exfiltrations, exfiltration(v).odd(), d.Prior, v.Profile.days)
}

const (
	leastOut = 4096 // bytes that are no volume yet
	oddOut   = 1e-5 // chance below which a call is odd that carries sensitive data where nobody asked for it
	discount = 1.0 / 8
)

// An outflow is how unusual it is what a call carries out: how likely each part is,
// and how much all of it weighs. It is zero if there is nothing to ask.
type outflow struct {
	size, hour, newness float64
	weight              float64
	sum                 float32 // bytes in the hour so far
}

// p is the chance of an outflow as unusual. Size and newness are joined by
// Fisher's method, which for two is q (1 - ln q) of their product; the hour stands beside them by Bonferroni. A newness
// has steps and a known destination counts as 1, which makes the joint value larger than it need be.
func (o outflow) p() float64 {
	if o.weight == 0 {
		return 1
	}
	q := math.Max(float64(o.size*o.newness), math.SmallestNonzeroFloat64)
	return math.Min(1, 2*math.Min(float64(q*(1-math.Log(q))), o.hour))
}

// odd holds p against less, where the call weighs less. Weights of at most one keep
// the chance of an odd call at most what it would be without.
func (o outflow) odd() bool { return o.weight > 0 && o.p() < oddOut*o.weight }

func exfiltration(v View) outflow {
	ev, p := v.Event, &v.Profile.volumes
	if !leaves(ev) || !ev.Bytes.OK || ev.Bytes.V < leastOut && p.sum[bytesOut] < leastOut {
		return outflow{}
	}
	o := outflow{size: 1, hour: 1, newness: 1, weight: 1}
	if s := p.sizeOf(ev.Tool); !s.bytes.near(float32(ev.Bytes.V)) && ev.Bytes.V >= leastOut {
		o.size = s.bytes.tail(float64(ev.Bytes.V))
	}
	before, after := p.sums(ev)
	if o.sum = after[bytesOut]; !p.hourly[bytesOut].near(o.sum) && o.sum >= leastOut {
		// The hour is asked about once: when it becomes odd.
		if h := p.hourly[bytesOut].tail(float64(o.sum)); p.hourly[bytesOut].tail(float64(before[bytesOut])) >= oddOut/2 {
			o.hour = h
		}
	}
	if o.size == 1 && o.hour == 1 {
		return outflow{}
	}
	if ev.Destination != "" && !p.known.has(hash(ev.Destination)) {
		o.newness = p.known.newness()
	}
	if !v.Session.sensitive() && ev.Sensitivity != event.Confidential && ev.Sensitivity != event.Restricted {
		o.weight *= discount
	}
	if asked, known := v.Session.asked(ev.Effect); known && asked {
		o.weight *= discount
	}
	return o
}

// Explain implements [Detector].
func (d Exfiltration) Explain(v View) Claim {
	ev, p, o := v.Event, &v.Profile.volumes, exfiltration(v)
	where := "a destination that is not told"
	if ev.Destination != "" {
		where = ev.Destination
		if o.newness < 1 {
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
	if o.size > o.hour {
		c.Reason = fmt.Sprintf("%s sent %s out in an hour, far more than it does", ev.Agent, bytesText(float64(o.sum)))
	}
	return c
}
