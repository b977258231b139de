package entity

import (
	"cmp"
	"slices"
	"strings"
	"unique"

	"github.com/cespare/xxhash/v2"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A thing is what is known of one entity. There are as many of them as of anything here,
// most of them credentials that one agent has: what few have stands apart.
type thing struct {
	key   string
	last  event.Timestamp
	forms []form // in which it was met: agents of a credential, servers of a tool, definitions, writings of a record

	handed map[string]bool // agents to whom a credential was handed on
	acts   *acts           // on a record
	crowd  *crowd          // that meets it
	crew   *crew           // of a role

	source unique.Handle[string] // that all facts about it came by
	mixed  bool                  // they came by several

	decided bool // it is known whether surprises about it are findings
	watched bool // they are
	doubted bool // they would be, but for verdicts
}

// thing returns what is known of an entity, or of a part of it that has a name.
func (e *Engine) thing(f *detect.Fact, more ...string) *thing {
	key := f.AppendKey(e.buf[:0])
	for _, m := range more {
		key = append(append(key, 0), m...)
	}
	e.buf = key
	t := e.things[string(key)]
	if t == nil {
		if len(e.things) >= e.limit {
			e.makeRoom()
		}
		t = &thing{key: string(key), source: unique.Make(f.Source)}
		e.things[t.key] = t
	}
	t.mixed = t.mixed || t.source.Value() != f.Source
	t.last = max(t.last, f.Time)
	return t
}

// makeRoom forgets an eighth of the entities: those that were met longest ago.
func (e *Engine) makeRoom() {
	all := make([]*thing, 0, len(e.things))
	for _, t := range e.things {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *thing) int {
		return cmp.Or(cmp.Compare(a.last, b.last), strings.Compare(a.key, b.key))
	})
	for _, t := range all[:max(len(all)-e.limit*7/8, 1)] {
		t.each(func(x *form) { e.pages.Drop(x.first) })
		delete(e.things, t.key)
		e.stats.Forgotten++
	}
}

// each calls fn for the forms of all kinds.
func (t *thing) each(fn func(*form)) {
	all := [4][]form{t.forms}
	if t.acts != nil {
		all[1], all[2] = t.acts.all, t.acts.astray
	}
	if t.crew != nil {
		all[3] = t.crew.alone
	}
	for _, forms := range all {
		for i := range forms {
			fn(&forms[i])
		}
	}
}

// tidy moves the facts that are kept to other pages, where most of what came with them is forgotten.
func (e *Engine) tidy() {
	if !e.pages.Sparse() {
		return
	}
	pages := &detect.FactPages{}
	for _, t := range e.things {
		t.each(func(x *form) { x.first = pages.Keep(x.fact(), nil) })
	}
	e.pages = pages
}

// person is the fingerprint of an agent or a role; 0 stands for no name.
func person(kind, name string) uint32 {
	if name == "" {
		return 0
	}
	return uint32(xxhash.Sum64String(kind+"\x00"+name)) | 1
}
