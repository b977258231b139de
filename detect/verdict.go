package detect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Verdict is what a person made of the findings about one agent: calibration by
// those who have looked. As an [Operation] it takes its place in the log between the
// agent's events.
//
// Findings that were false say that the rates of their detectors are wrong for this
// agent. With a Gamma(1, 1) prior on the factor by which they are, n of them where hardly
// any was expected make it 1 + n; see [doubt] for how that is bounded, and ends.
//
// Findings that were true say that the detectors are right, and that what the agent
// did for the first time then was not its own way: it is forgotten, and does not count as a surprise.
type Verdict struct {
	False     bool     // the findings were; else they were true
	Withdrawn bool     // the verdict is taken back
	Detectors []string // that made the findings
	Novel     []string // of the findings
}

const (
	falsePositive = "false_positive"
	truePositive  = "true_positive"
	withdrawn     = "withdraw_"
)

// Operation puts v into words, in parts that no name of a detector or novelty contains.
func (v Verdict) Operation() Operation {
	return Operation(strings.Join(slices.Concat([]string{v.verb()}, v.Detectors, v.Novel), " "))
}

func (v Verdict) verb() string {
	verb := truePositive
	if v.False {
		verb = falsePositive
	}
	if v.Withdrawn {
		verb = withdrawn + verb
	}
	return verb
}

// verdict reads what [Verdict.Operation] wrote; ok is false for any other operation.
func (op Operation) verdict() (v Verdict, ok bool) {
	words := strings.Fields(string(op))
	if len(words) == 0 {
		return v, false
	}
	verb := words[0]
	verb, v.Withdrawn = strings.CutPrefix(verb, withdrawn)
	v.False = verb == falsePositive
	for _, w := range words[1:] {
		if strings.Contains(w, ":") {
			v.Novel = append(v.Novel, w)
		} else {
			v.Detectors = append(v.Detectors, w)
		}
	}
	return v, v.False || verb == truePositive
}

// doubt is what verdicts on one detector's findings about one agent came to: how many
// were false, up to three, in the upper two bits, and in the others the week, of 64, in
// which that changed last. One is forgotten every eight weeks.
//
// So a person who calls everything false, or is made to, takes no more from a detector
// than this: its p-values count four times, its surprises are expected up to four times as
// often, though never so often that its own share does not pay for half of the time, and
// it has nothing of what others could not save. What breaks a rule is found as before.
type doubt uint8

const (
	mostFalse   = 3
	doubtBits   = 6
	weeks       = 1 << doubtBits
	doubtFor    = 8 // weeks until one is forgotten
	hoursInWeek = 7 * 24
	halfWatch   = 2 // times its share that a doubted detector's surprises are expected at most
)

// weekOf is the week of a time, of 64.
func weekOf(t event.Timestamp) int { return int(hourOf(t) / hoursInWeek % weeks) }

// count is how many findings were called false lately.
func (d doubt) count() int { return int(d >> doubtBits) }

// with is a doubt of so many findings, as of a time.
func (d doubt) with(count int, at event.Timestamp) doubt {
	if count = min(max(count, 0), mostFalse); count == 0 {
		return 0
	}
	return doubt(count<<doubtBits | weekOf(at))
}

// fade forgets a finding for each eight weeks that have passed. An event from before the verdict is of no
// week to come: whatever is half of the circle ahead lies behind.
func (d doubt) fade(at event.Timestamp) doubt {
	since := (weekOf(at) - int(d&(weeks-1)) + weeks) % weeks
	if d == 0 || since < doubtFor || since >= weeks/2 {
		return d
	}
	return d.with(d.count()-since/doubtFor, at)
}

// calibrated is a test of a detector with a share of the budget, by its verdicts.
func (d doubt) calibrated(t Test, share float64) Test {
	factor := float64(1 + d.count())
	t.P = min(t.P*factor, 1)
	t.Rate = max(t.Rate, min(t.Rate*factor, halfWatch*share))
	return t
}

// noted names the things that a verdict can make an agent forget: those of a kind that
// are remembered one by one. Others, such as scopes in a filter, it cannot.
func noted(k kind) string {
	return [kinds]string{privilegesUsed: "privilege", breaches: "breach", flows: "flow", recalls: "recall", delegations: "delegation", parts: "part"}[k]
}

// novel lists what the event in view does for the first time, as its agent's profile
// remembers it: the kind and 16 bits.
func (v View) novel() (all []string) {
	for k, o := range v.occasions {
		if name := noted(kind(k)); name != "" && o.odd && o.item != 0 {
			all = append(all, fmt.Sprintf("%s:%04x", name, mark(o.item)))
		}
	}
	return all
}

// parseNovel reads one of what novel lists.
func parseNovel(s string) (k kind, item uint16, ok bool) {
	name, digits, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(digits, 16, 16)
	for k := range kinds {
		if name != "" && noted(k) == name {
			return k, uint16(n), err == nil && n != 0
		}
	}
	return 0, 0, false
}

// judged takes a verdict in, at the time that the agent's events have come to: while
// old logs are read, the person's own clock says nothing about that.
func (e *Engine) judged(p *Profile, v Verdict) {
	at := p.last.stamp()
	for _, d := range e.detectors {
		if !slices.Contains(v.Detectors, d.about.Name) {
			continue
		}
		x := &p.doubts[d.about.Slot]
		switch {
		case v.False && v.Withdrawn:
			*x = x.with(x.count()-1, at)
		case v.False:
			*x = x.with(x.count()+1, at)
			p.excuse(d.Detector)
		case !v.Withdrawn:
			*x = 0
		}
	}
	if v.False {
		return
	}
	for _, s := range v.Novel {
		if k, item, ok := parseNovel(s); ok {
			p.unlearn(k, item, v.Withdrawn)
		}
	}
}

// excuse takes a drift that was reported, and that a person calls none, for over.
func (p *Profile) excuse(d Detector) {
	switch d.(type) {
	case Drift:
		if p.drifted {
			p.drifted = false
			p.privileges.reanchor()
		}
	case SlowDrift:
		if p.anchors.moved != 0 {
			p.anchors.restart()
		}
	}
}

// unlearn forgets a thing that the agent did for the first time in an attack, so that it
// is reported again, and the surprise that was counted for it; with back that is undone.
func (p *Profile) unlearn(k kind, item uint16, back bool) {
	h := p.habit(k)
	switch {
	case back && !slices.Contains(h.items, item):
		h.surprises += again(h.surprises)
		if k == delegations {
			extents(h.items).raise(uint64(item))
		} else {
			h.remember(uint64(item))
		}
	case !back && h.forget(k, item):
		h.surprises = max(h.surprises-latest(h.surprises), 0)
	}
}

// forget takes out an item, and reports whether it was there. How far the agent goes in
// delegations becomes the least from which that would be odd.
func (h habit) forget(k kind, item uint16) bool {
	i := slices.Index(h.items, item)
	if i < 0 {
		return false
	}
	if k == delegations {
		h.items[i] = max(item, 2) - 2
		return true
	}
	copy(h.items[i:], h.items[i+1:])
	h.items[len(h.items)-1] = 0
	return true
}
