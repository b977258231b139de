package detect

import (
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Detector judges one event against what is normal for its agent.
//
// A Detector holds configuration and never state, so the same event and profile
// always get the same answer and one value serves all goroutines. Judge and
// Explain only read.
type Detector interface {
	About() About
	// Judge asks the detector's question. What it cannot say, for want of
	// history or of a field, is a Test that was not asked.
	Judge(v View) Test
	// Explain says why Judge's answer was odd. It is called for findings only.
	Explain(v View) Claim
}

// About is what every finding of a detector has in common.
type About struct {
	Slot     int      // of its wealth in a profile: its own for ever
	Name     string   // such as "first_use"
	Threat   string   // row of the threat table
	Severity Severity // of its findings
	Normal   string   // what would make what it finds normal
	ASI      []string // OWASP Top 10 for Agentic Applications 2026
	ATLAS    []string // MITRE ATLAS techniques
}

// A View is what a detector may look at. It is valid while its event is judged.
type View struct{ *sight }

// sight is what is in view: behind a pointer, because each event is looked at some
// forty times.
type sight struct {
	Event   *event.Event
	Profile *Profile
	Session *Session // of the event; empty where the event has none
	Peers   *Group   // of the agent; nil where nothing is known of its peers

	Surprise float64 // of the event to the peers; see known.surprise
	Evidence float64 // of the session against the peers, this event included

	bill      *bill                // of materials; nil where the rules have none
	session   uint32               // fingerprint of its name; 0 where the event has none
	slot      int                  // of the detector that is asked
	priors    *[maxDetectors]Prior // of the group, by slot; nil where nothing is known of its peers
	passed    time.Duration        // since time was paid for last; 0: it is not due yet
	ahead     time.Duration        // by which the event's clock was, where that was too far to be believed
	occasions [kinds]occasion      // what the event is to each kind of novelty

	volumes volumesOdd // whether the event is odd to the detectors of volumes
}

// ask asks whether what the event in view is to a kind of novelty surprises, of an
// agent that is known. Where it does not and no time is to be paid for, there is
// nothing to ask.
func (v View) ask(k kind, prior Prior) Test {
	if !v.occasions[k].odd && v.passed == 0 {
		return Test{}
	}
	return v.question(k, prior)
}

// question is what ask asks, whether or not there is anything to ask now.
func (v View) question(k kind, prior Prior) Test {
	p := v.Profile
	return p.novelties[k].test(v.occasions[k], v.prior(prior), p.days, float32(p.last.Sub(p.first).Hours()/24))
}

// prior returns what is believed of the agent in view before it is known: that of its
// peers, and where nothing is known of them that of the rules.
func (v View) prior(ofRules Prior) Prior {
	if v.priors != nil && v.priors[v.slot].B > 0 {
		return v.priors[v.slot]
	}
	return ofRules
}

// A Claim is a finding in words.
type Claim struct {
	Reason   string
	Observed string
	Baseline string
	Normal   string   // what would make it normal, where that is not what makes all of the detector's findings normal
	Evidence []string // ids of earlier events, oldest first
	Entities []Entity // that the claim is about besides the credential
}
