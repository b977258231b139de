package triage

import (
	"context"
	"errors"
	"slices"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

// # How findings come together
//
// Everything by which findings can belong together has a key of its own, under
// which stands the id of the incident that had it last: a session of an agent,
// a credential, a memory record, a tool, a principal. A finding joins the open
// incident that one of its keys leads to; where none does, it opens one. Only
// then does it claim its keys, by compare-and-set. A key that was claimed for
// another open incident meanwhile, or before, shows that the two are one: the
// later one is merged into the earlier. So two processes that open incidents
// about the same thing at the same time find each other at the key.
//
// A merge has three steps, which whoever comes by completes: the later incident
// is told where it went, and does not change from then on; the earlier one takes
// it in; the later one is marked as absorbed. The earlier of two is decided by
// values that never change, so no two processes merge in opposite directions.

// A link is something by which findings belong together.
type link struct {
	key  string // in the bucket of incidents
	weak bool   // many have it: it leads no further than a short time
	to   string // id of the incident that a finding names itself; it has no key then
}

// load reads the id of the incident that l leads to.
func (l link) load(ctx context.Context, b *bus) (id string, revision uint64, err error) {
	if l.to != "" {
		return l.to, 0, nil
	}
	return load[string](ctx, b.incidents, l.key)
}

// linksOf lists the links of f, that of its session first.
func linksOf(f *detect.Finding) []link {
	links := []link{{key: "session." + hash(f.Agent, f.Session)}}
	for _, e := range entitiesOf(f) {
		if e.Kind == incidentEntity {
			links = append(links, link{to: e.Name})
			continue
		}
		links = append(links, link{
			key:  "entity." + hash(string(e.Kind), e.Name),
			weak: e.Kind != detect.CredentialEntity && e.Kind != detect.MemoryEntity,
		})
	}
	return links
}

// incidentEntity names the incident that a finding about a stop belongs to.
const incidentEntity detect.EntityKind = "incident"

// maxEntities bounds the entities of a finding that are looked at.
const maxEntities = 8

// entitiesOf lists what f is about beside its session, without repeats.
func entitiesOf(f *detect.Finding) []detect.Entity {
	var all []detect.Entity
	if c := f.Credential; c.ID != "" {
		all = append(all, detect.Entity{Kind: detect.CredentialEntity, Name: c.ID})
	}
	for _, e := range f.Entities {
		if e.Kind != "" && e.Name != "" && len(all) < maxEntities && !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all
}

// loadIncident reads the incident with the id; one without an id where there is none.
func loadIncident(ctx context.Context, b *bus, id string) (*incident, error) {
	i, rev, err := load[incident](ctx, b.incidents, command.IncidentKey(id))
	i.revision = rev
	return &i, err
}

// saveIncident writes i if nobody has changed it since it was read; else errConflict.
func saveIncident(ctx context.Context, b *bus, i *incident) error {
	rev, err := save(ctx, b.incidents, command.IncidentKey(i.ID), i, i.revision)
	if err == nil {
		i.revision = rev
	}
	return err
}

// errMoved: the incident was closed or merged meanwhile. The finding looks for its place again.
var errMoved = errors.New("the incident was closed or merged")

// place returns the incident that f belongs to, which is open or has f already,
// and has all links of f lead to it.
func (t *Triage) place(ctx context.Context, b *bus, f *detect.Finding, at stamps) (*incident, error) {
	links := linksOf(f)
	home, err := t.home(ctx, b, f, links, at)
	if err != nil || home.has(f) && !home.open() {
		return home, err
	}
	for n := 0; n < len(links); {
		other, err := t.claim(ctx, b, f, links[n], home)
		switch {
		case err != nil:
			return nil, err
		case other == nil:
			n++
			continue
		}
		if home, err = t.merge(ctx, b, home, other); err != nil {
			return nil, err
		}
		n = 0 // the keys before were claimed for the incident that went
	}
	return home, nil
}

// home finds the first open incident that a link of f leads to, or opens one.
func (t *Triage) home(ctx context.Context, b *bus, f *detect.Finding, links []link, at stamps) (*incident, error) {
	var home *incident
	for n, l := range links {
		p, _, err := l.load(ctx, b)
		if err != nil {
			return nil, err
		}
		i, err := t.root(ctx, b, p)
		if err != nil {
			return nil, err
		}
		if n == 0 && i.has(f) { // by an earlier try: closed or not, it stands
			return i, nil
		}
		if t.leads(l, n == 0, f, i) && (home == nil || i.before(home)) {
			home = i
		}
	}
	if home != nil {
		return home, nil
	}
	return t.open(ctx, b, f, at)
}

// open opens an incident for f. One that was opened for it before may have
// become part of one that was closed since: then another one is opened.
func (t *Triage) open(ctx context.Context, b *bus, f *detect.Finding, at stamps) (*incident, error) {
	for id := hash(f.Agent, f.Session, f.ID); ; id = hash(id, "again") {
		i := &incident{ID: id, Agent: f.Agent, Session: f.Session, First: f.Time, Last: f.Time, Ingested: at.ingested, Found: at.found}
		if err := t.at("opening"); err != nil {
			return nil, err
		}
		err := saveIncident(ctx, b, i)
		if !errors.Is(err, errConflict) {
			return i, err
		}
		there, err := t.root(ctx, b, id)
		if err != nil || there.open() || there.has(f) {
			return there, err
		}
	}
}

// leads reports whether link l of f leads to i.
func (t *Triage) leads(l link, session bool, f *detect.Finding, i *incident) bool {
	gap := t.cfg.IncidentGap
	if l.weak {
		gap = t.cfg.LinkGap
	}
	return i.open() && i.room(f.Agent) && f.Time.Sub(i.Last) <= gap && (session || i.First.Sub(f.Time) <= gap)
}

// claim has l lead to home. Where it leads to another incident that f links
// with, it returns that one.
func (t *Triage) claim(ctx context.Context, b *bus, f *detect.Finding, l link, home *incident) (*incident, error) {
	for {
		p, rev, err := l.load(ctx, b)
		if err != nil || p == home.ID {
			return nil, err
		}
		i, err := t.root(ctx, b, p)
		if err != nil {
			return nil, err
		}
		first, later := home, i
		if later.before(first) {
			first, later = later, first
		}
		if i.ID != home.ID && t.leads(l, false, f, i) && first.absorbs(later) {
			return i, nil
		}
		if l.to != "" {
			return nil, nil
		}
		if err := t.at("claim"); err != nil {
			return nil, err
		}
		if _, err := save(ctx, b.incidents, l.key, home.ID, rev); !errors.Is(err, errConflict) {
			return nil, err
		}
	}
}
