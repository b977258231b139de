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

// A form is one way in which a thing was met, and the earliest fact of it.
type form struct {
	name   string
	first  detect.PackedFact
	who    []uint32 // agents and roles that met it, the first sixteen
	judged bool
}

const (
	maxForms = 8
	maxWho   = 16
)

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
		delete(e.things, t.key)
		e.stats.Forgotten++
	}
}

// meet takes a form of a thing in and returns the forms that are to be judged
// for it: the form itself where it is new, and those that turn out to be later
// than one that was met before them. A thing has eight forms at most: the one
// judged longest ago makes room, never the earliest. What is returned is valid until
// another one is met.
func (e *Engine) meet(forms *[]form, name func(*detect.Fact) string, f *detect.Fact) (due []*form) {
	called := name(f)
	i := slices.IndexFunc(*forms, func(x form) bool { return x.name == called })
	if i < 0 {
		if len(*forms) >= maxForms {
			*forms = slices.Delete(*forms, 1, 2)
		}
		i = len(*forms)
		*forms = append(*forms, form{})
	}
	x := &(*forms)[i]
	if x.first == "" || x.met(f) > 0 {
		x.first = e.pack(f)
		x.name = name(x.fact()) // in its memory
	}
	x.seenBy(f)
	if len(*forms) == 1 {
		return nil
	}
	slices.SortFunc(*forms, func(a, b form) int {
		_, first, at := a.first.Told()
		_, second, then := b.first.Told()
		return cmp.Or(cmp.Compare(at, then), strings.Compare(first, second))
	})
	for i := range (*forms)[1:] {
		if x := &(*forms)[i+1]; !x.judged {
			due = append(due, x)
		}
	}
	return due
}

// since is when a form was met first.
func (x *form) since() event.Timestamp {
	_, _, at := x.first.Told()
	return at
}

// met says whether that was before the event of f: then it is negative.
func (x *form) met(f *detect.Fact) int {
	_, id, at := x.first.Told()
	return cmp.Or(cmp.Compare(at, f.Time), strings.Compare(id, f.Event))
}

// before returns the forms that were met before x, oldest first.
func before(forms []form, x *form) []form {
	i := 0
	for &forms[i] != x {
		i++
	}
	return forms[:i]
}

// fact is the earliest fact of a form.
func (x *form) fact() *detect.Fact {
	f := x.first.Unpack()
	return &f
}

func (x *form) seenBy(f *detect.Fact) {
	for _, who := range [...]uint32{person("agent", f.Agent), person("role", f.Role)} {
		if who != 0 && len(x.who) < maxWho && !slices.Contains(x.who, who) {
			x.who = append(x.who, who)
		}
	}
}

// familiar reports whether the agent of f, or one of the same role, met this form.
func (x *form) familiar(f *detect.Fact) bool {
	return slices.Contains(x.who, person("agent", f.Agent)) || f.Role != "" && slices.Contains(x.who, person("role", f.Role))
}

// person is the fingerprint of an agent or a role; 0 stands for no name.
func person(kind, name string) uint32 {
	if name == "" {
		return 0
	}
	return uint32(xxhash.Sum64String(kind+"\x00"+name)) | 1
}
