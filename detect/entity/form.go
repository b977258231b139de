package entity

import (
	"cmp"
	"slices"
	"strings"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A form is one way in which a thing was met, and the earliest fact of it.
type form struct {
	first  detect.PackedFact
	who    map[uint32]bool // agents and roles that met it, the first sixteen; of a tool
	judged bool
}

const (
	maxForms = 8
	maxWho   = 16
)

// way is in what the forms of a thing differ.
type way uint8

const (
	byAgent way = iota
	byServer
	byHash
	byWriting // what two sources say of one event are two writings: somebody may foresee its id
	bySession // of an agent
)

// same reports whether two facts are of the same form.
func (w way) same(a, b *detect.Fact) bool {
	switch w {
	case byServer:
		return a.Server == b.Server
	case byHash:
		return a.Hash == b.Hash
	case byWriting:
		return a.Event == b.Event && a.Source == b.Source
	case bySession:
		return a.Agent == b.Agent && a.Session == b.Session
	}
	return a.Agent == b.Agent
}

// meet takes a form of a thing in and returns the forms that are to be judged
// for it: the form itself where it is new, and those that turn out to be later
// than one that was met before them. A thing has eight forms at most: the one
// judged longest ago makes room, never the earliest. What is returned is valid until
// another one is met.
func (e *Engine) meet(forms *[]form, w way, f *detect.Fact) (due []*form) {
	i := slices.IndexFunc(*forms, func(x form) bool {
		first, _ := x.first.Unpack()
		return w.same(&first, f)
	})
	switch {
	case i < 0:
		if len(*forms) >= maxForms {
			e.pages.Drop((*forms)[1].first)
			*forms = slices.Delete(*forms, 1, 2)
		}
		i = len(*forms)
		*forms = append(*forms, form{first: e.pages.Keep(f, nil)})
	case (*forms)[i].met(f) > 0:
		e.pages.Drop((*forms)[i].first)
		(*forms)[i].first = e.pages.Keep(f, nil)
	}
	if f.Kind == detect.ToolFact {
		(*forms)[i].seenBy(f)
	}
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

// forget leaves out the forms of which that is said.
func (e *Engine) forget(forms []form, gone func(*detect.Fact) bool) []form {
	return slices.DeleteFunc(forms, func(x form) bool {
		if !gone(x.fact()) {
			return false
		}
		e.pages.Drop(x.first)
		return true
	})
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
	f, _ := x.first.Unpack()
	return &f
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

func (x *form) seenBy(f *detect.Fact) {
	if x.who == nil {
		x.who = map[uint32]bool{}
	}
	for _, who := range [...]uint32{person("agent", f.Agent), person("role", f.Role)} {
		if who != 0 && len(x.who) < maxWho {
			x.who[who] = true
		}
	}
}

// familiar reports whether the agent of f, or one of the same role, met this form.
func (x *form) familiar(f *detect.Fact) bool {
	return x.who[person("agent", f.Agent)] || f.Role != "" && x.who[person("role", f.Role)]
}
