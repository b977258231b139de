package entity

import (
	"fmt"

	"github.com/stakeout-project/stakeout/detect"
)

// record follows a memory record from who writes it to who acts on it.
func (e *Engine) record(f *detect.Fact, g *group) []detect.Finding {
	if f.Deed == detect.Read {
		return e.gather(f, g)
	}
	t := e.thing(f)
	switch f.Deed {
	case detect.Wrote:
		e.meet(&t.forms, byWriting, f)
	case detect.Acted:
		if t.acts == nil {
			t.acts = &acts{}
		}
		e.meet(&t.acts.all, bySession, f)
		if f.Astray {
			e.meet(&t.acts.astray, bySession, f)
		}
	}
	if t.acts == nil {
		return nil
	}
	var found []detect.Finding
	for i := range t.acts.all {
		if c, ok := e.acted(t, &t.acts.all[i], g); ok {
			found = append(found, e.finding(c))
		}
	}
	for i := range t.acts.astray {
		if c, ok := e.inherited(t, &t.acts.astray[i], g); ok {
			found = append(found, e.finding(c))
		}
	}
	return found
}

// acts are effectful calls on the word of a record, by agent and session.
type acts struct{ all, astray []form }

// acted finds an effectful call on the word of a memory record whose content came
// from outside and which another agent wrote, however long ago: what was written
// last before the call counts. Where a store's records from outside are
// often acted on by others, it is no surprise. It says nothing where
// records have no ids, and of calls whose arguments are known to come from elsewhere.
func (e *Engine) acted(t *thing, x *form, g *group) (c claim, ok bool) {
	if x.judged {
		return claim{}, false
	}
	own := x.fact()
	written := t.writtenBefore(own)
	if written == nil || !written.Untrusted || written.Agent == own.Agent {
		return claim{}, false
	}
	x.judged = true
	rate, ok := e.surprise(detect.RecordDetector, g, g.unit(written.Store), t, own, own.Known)
	if !ok {
		return claim{}, false
	}
	name := written.Store + "/" + written.Record
	return claim{
		normal: "a record whose content did not come from outside, or an action on the word of the user",
		thing:  t, unit: written.Store, detector: detect.RecordDetector, threat: detect.MemoryPoisoning, severity: detect.High,
		asi: []string{"ASI06"}, atlas: []string{"AML.T0080.000"},
		about: []string{"acted", own.Entity, own.Agent}, on: own, rate: rate, evidence: []*detect.Fact{written},
		entities: []detect.Entity{{Kind: detect.MemoryEntity, Name: name}},
		reason:   fmt.Sprintf("%s called %s on the word of a memory record that %s wrote from untrusted content", own.Agent, own.Tool, written.Agent),
		observed: fmt.Sprintf("record %s, written by %s at %s, acted on by %s at %s with effect %s", name, written.Agent, written.Time, own.Agent, own.Time, own.Effect),
		baseline: fmt.Sprintf("of records from outside in %s: %.1f acted on by others expected in 1,000 agent-days, %.0f seen", written.Store, 1000*rate, g.exposure(own)),
	}, true
}
