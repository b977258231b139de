package entity

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A thing is what is known of one entity.
type thing struct {
	key  string
	last event.Timestamp

	forms  []*form  // in which it was met: agents of a credential, servers of a tool, definitions, writings of a record
	acts   []*form  // on a record, by agent and session
	astray []*form  // those that strayed
	handed []string // agents to whom a credential was handed on
	crowd  []visit  // agents that met it lately
	crew   []member // of a role
	alone  []*form  // deployments of a role that nobody has followed
	widest int      // agents that met it within a day, at most
	spoken bool     // of its crowd
	store  string   // of a record

	week   event.Timestamp // since 1970
	weekly []uint32        // agents that met it in the week

	source string // that all facts about it came by
	mixed  bool   // they came by several

	decided bool // it is known whether surprises about it are findings
	watched bool // they are
	doubted bool // they would be, but for verdicts
}

// A form is one way in which a thing was met, and the earliest fact of it.
type form struct {
	name   string
	first  *detect.Fact
	who    []uint32 // agents and roles that met it, the first sixteen
	judged bool
}

const (
	maxForms = 8
	maxWho   = 16
)

// thing returns what is known of an entity.
func (e *Engine) thing(f *detect.Fact, key string) *thing {
	t := e.things[key]
	if t == nil {
		if len(e.things) >= e.limit {
			e.makeRoom()
		}
		t = &thing{key: key, source: f.Source}
		e.things[key] = t
	}
	t.mixed = t.mixed || t.source != f.Source
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
// judged longest ago makes room, never the earliest.
func meet(forms *[]*form, name string, f *detect.Fact) []*form {
	var met *form
	for _, x := range *forms {
		if x.name == name {
			met = x
		}
	}
	switch {
	case met == nil:
		if len(*forms) >= maxForms {
			*forms = slices.Delete(*forms, 1, 2)
		}
		met = &form{name: name, first: f}
		*forms = append(*forms, met)
	case earlier(f, met.first) < 0:
		met.first = f
	}
	met.seenBy(f)
	slices.SortFunc(*forms, func(a, b *form) int { return earlier(a.first, b.first) })
	var due []*form
	for _, x := range (*forms)[1:] {
		if !x.judged {
			due = append(due, x)
		}
	}
	return due
}

// before returns the forms that were met before x, oldest first.
func before(forms []*form, x *form) []*form {
	return forms[:slices.Index(forms, x)]
}

func (x *form) seenBy(f *detect.Fact) {
	for _, who := range []uint32{person("agent", f.Agent), person("role", f.Role)} {
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
