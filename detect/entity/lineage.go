package entity

import (
	"fmt"
	"slices"

	"github.com/stakeout-project/stakeout/detect"
)

// lineageDepth is through how many further records content from outside is followed.
const lineageDepth = 3

// inherited finds an effectful call on the word of a memory record that is told to have
// come from a trusted origin, but was written by a session into which content from outside
// had come, or which had read such a record: the record inherits it, whatever its
// writer says of it. Since most of what such sessions write is harmless, the call must be
// one that the user did not ask for, to a destination that was new, by an agent which seldom does both.
// How often that happens is counted for the tenant as a whole: stores have too few
// such calls each, and are too many. It says nothing of records beyond three others, of more than the
// two that a session read last before it wrote, and of calls of which destination or wish are not known.
func (e *Engine) inherited(t *thing, x *form, g *group) (c claim, ok bool) {
	if x.judged {
		return claim{}, false
	}
	own := x.fact()
	written := t.writtenBefore(own)
	if written == nil || written.Untrusted {
		return claim{}, false
	}
	way := e.lineage(written, lineageDepth)
	if way == nil {
		return claim{}, false
	}
	x.judged = true
	rate, ok := e.surprise(detect.LineageDetector, g, &g.whole, &thing{}, own, own.Known) // each such call is one of its own
	if !ok {
		return claim{}, false
	}
	name, root := written.Store+"/"+written.Record, way[0]
	through := ""
	if n := len(way) - 1; n > 0 {
		through = fmt.Sprintf(", through %d other records", n)
	}
	return claim{
		normal: "a user who asks for it, a destination that the agent goes to, or a record written before content from outside was read",
		thing:  t, unit: wholeUnit, detector: detect.LineageDetector, threat: detect.MemoryPoisoning, severity: detect.High,
		asi: []string{"ASI06"}, atlas: []string{"AML.T0080.000"},
		about: []string{own.Entity, own.Agent, own.Session}, on: own, rate: rate, evidence: way,
		entities: []detect.Entity{{Kind: detect.MemoryEntity, Name: name}},
		reason:   fmt.Sprintf("%s called %s, unasked and to a new destination, on the word of a memory record that content from outside may have come into", own.Agent, own.Tool),
		observed: fmt.Sprintf("record %s, written by %s at %s; content from outside came to %s before %s%s; acted on by %s at %s with effect %s",
			name, written.Agent, written.Time, root.Agent, root.Time, through, own.Agent, own.Time, own.Effect),
		baseline: fmt.Sprintf("of this tenant: %.1f such calls expected in 1,000 agent-days, %.0f seen", 1000*rate, g.exposure(own)),
	}, true
}

// lineage is the way from a writing of a record by a session with content from outside to
// this one, oldest first; nil if none is known. At most so many writings lie between.
func (e *Engine) lineage(written *detect.Fact, depth int) []*detect.Fact {
	if written.Untrusted || written.Tainted {
		return []*detect.Fact{written}
	}
	if depth == 0 {
		return nil
	}
	for _, from := range written.Lineage {
		read := detect.Fact{Kind: written.Kind, Tenant: written.Tenant, Entity: from}
		e.buf = read.AppendKey(e.buf[:0])
		t := e.things[string(e.buf)]
		if t == nil {
			continue
		}
		if w := t.writtenBefore(written); w != nil {
			if way := e.lineage(w, depth-1); way != nil {
				return append(way, written)
			}
		}
	}
	return nil
}

// writtenBefore is the last writing of a record before f.
func (t *thing) writtenBefore(f *detect.Fact) *detect.Fact {
	for i := range slices.Backward(t.forms) {
		if t.forms[i].met(f) < 0 {
			return t.forms[i].fact()
		}
	}
	return nil
}
