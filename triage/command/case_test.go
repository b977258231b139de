package command

import (
	"errors"
	"strings"
	"testing"
)

// TestDraftIsNoDecision refuses a draft that brings more than a text, and a change that lacks one.
func TestDraftIsNoDecision(t *testing.T) {
	s := newSigner(t)
	f := func(change func(*Case), ok bool) {
		t.Helper()
		c := Case{Incident: Incident{ID: "i1", Agent: "clerk"}, Change: Drafted, Draft: &Draft{Finding: "f1", Model: "m", Text: "t"}}
		change(&c)
		if _, err := EncodeCase(s, c, "c1"); ok != (err == nil) || !ok && !errors.Is(err, ErrMalformed) {
			t.Errorf("%+v, draft %+v: %v", c, c.Draft, err)
		}
	}
	f(func(*Case) {}, true)
	f(func(c *Case) { c.Draft.Text = strings.Repeat("t", MaxDraft) }, true)
	f(func(c *Case) { c.Draft.Text = strings.Repeat("t", MaxDraft+1) }, false)
	f(func(c *Case) { c.Draft.Text = "" }, false)
	f(func(c *Case) { c.Draft.Model = "" }, false)
	f(func(c *Case) { c.Draft.Model = strings.Repeat("m", MaxModel+1) }, false)
	f(func(c *Case) { c.Draft.Finding = "" }, false)
	f(func(c *Case) { c.Draft = nil }, false)
	f(func(c *Case) { c.Change = Closed }, false)
	f(func(c *Case) { c.Disposition = &Disposition{Finding: "f1"} }, false)
	f(func(c *Case) { c.Suppression = &Suppression{ID: "s1"} }, false)
}
