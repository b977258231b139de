// Package entity judges what several agents share: credentials, tools and the
// servers behind them, memory records, destinations and principals, and what the agents of a
// role run.
//
// It lives on facts, which the engines of single agents tell. Facts about one entity
// come to one [Engine], those of several agents in any order and each perhaps
// more than once. So a claim is about the later of two facts by the time of
// their events, whichever came first, and its id does not depend on their order.
// The package does no I/O, starts no goroutine, reads no clock and logs nothing:
// the same facts in the same order give the same findings.
package entity

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/detect"
)

// An Engine judges the facts of one partition. It is not for concurrent use.
type Engine struct {
	rules   detect.Rules
	joint   map[string]joint
	things  map[string]*thing
	groups  map[string]*group
	limit   int // of entities
	stats   Stats
	sources []string // of the findings of the fact observed last
	pages   *detect.FactPages
	buf     []byte
}

// joint is a detector in force.
type joint struct {
	prior detect.Prior
	share float64 // false findings per agent-day
}

// Stats count what an engine did since it was made.
type Stats struct {
	Facts     uint64
	Findings  uint64
	Forgotten uint64 // entities, to make room for others
}

// maxEntities is how many entities an engine holds unless told otherwise.
const maxEntities = 250_000

// New returns an engine that knows no entity. All facts of a group come to one engine.
func New(r detect.Rules) *Engine {
	e := &Engine{rules: r, joint: map[string]joint{}, things: map[string]*thing{}, groups: map[string]*group{}, limit: maxEntities, pages: &detect.FactPages{}}
	for _, j := range r.Joint {
		e.joint[j.Name] = joint{j.Prior, j.Share * r.Budget}
	}
	return e
}

// SetLimit bounds how many entities the engine holds. Beyond it, those that were
// met longest ago are forgotten.
func (e *Engine) SetLimit(entities int) { e.limit = entities }

// Stats returns the counts so far.
func (e *Engine) Stats() Stats { return e.stats }

// Entities is how many entities the engine knows.
func (e *Engine) Entities() int { return len(e.things) }

// Observe takes a fact in and returns what follows from it. The strings of f are
// not kept.
func (e *Engine) Observe(f *detect.Fact) []detect.Finding {
	e.stats.Facts++
	e.sources = e.sources[:0]
	if f.Deed == detect.Judged {
		e.judged(f)
		return nil
	}
	g := e.group(f)
	g.see(f)
	var found []detect.Finding
	switch f.Kind {
	case detect.CredentialFact:
		found = e.credential(f, g)
	case detect.ServerFact:
		found = e.definition(f, g)
	case detect.ToolFact:
		found = e.offer(f, g)
	case detect.RecordFact:
		found = e.record(f, g)
	case detect.DeploymentFact:
		found = e.deployment(f, g)
	case detect.DestinationFact, detect.PrincipalFact:
		found = e.gather(f, g)
	}
	e.tidy()
	e.stats.Findings += uint64(len(found))
	return found
}

// Sources are, for each finding that the fact observed last led to, the raw topic
// that all which is known of the thing came by: empty where there are several,
// so that nobody can make a claim about another look like that other's own word.
func (e *Engine) Sources() []string { return e.sources }

// known is how long a thing must have been known before another form of it is a change.
const known = 24 * time.Hour

// A claim is a finding before it has what all findings have.
type claim struct {
	thing    *thing
	unit     string // whose habits it was held against
	detector string
	threat   string
	severity detect.Severity
	asi      []string
	atlas    []string
	about    []string // with the detector, what the finding's id is made from
	on       *detect.Fact
	rate     float64 // of such surprises, per agent-day
	entities []detect.Entity
	evidence []*detect.Fact // the earlier ones, oldest first
	reason   string
	observed string
	baseline string
	normal   string // what would make it so
}

func (e *Engine) finding(c claim) detect.Finding {
	source := c.thing.source.Value()
	if c.thing.mixed {
		source = ""
	}
	e.sources = append(e.sources, source)
	sum := sha256.Sum256([]byte(strings.Join(append([]string{c.detector, c.on.Tenant}, c.about...), "\x00")))
	evidence := make([]string, 0, len(c.evidence)+1)
	for _, f := range append(c.evidence, c.on) {
		evidence = append(evidence, strings.Clone(f.Event))
	}
	for i := range c.entities {
		c.entities[i].Name = strings.Clone(c.entities[i].Name)
	}
	f := c.on.Clone()
	return detect.Finding{
		ID: hex.EncodeToString(sum[:16]), Detector: c.detector, Threat: c.threat, Severity: c.severity, Time: f.Time,
		Agent: f.Agent, Role: f.Role, Tenant: f.Tenant, Session: f.Session, User: f.User, Parent: f.Parent, Credential: f.Credential,
		Reason: c.reason, Observed: c.observed, Baseline: c.baseline, Normal: c.normal, PValue: -math.Expm1(-c.rate), Level: e.joint[c.detector].share,
		Event: f.Event, Novel: []string{detect.Unit(f.Kind, c.detector, c.unit)}, Evidence: slices.Compact(evidence), Entities: c.entities, ASI: c.asi, ATLAS: c.atlas, Rules: e.rules.Version,
	}
}
