package backtest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// told counts what events say of that which detection rests on.
type told struct {
	calls, effects    int // calls, and those that tell their effect
	reaching, origins int // calls that reach out, and those that tell where an argument comes from
	messages, wishes  int // users' messages, and those that tell what they ask for
	events, outsiders int // events, and those of no session
}

func (t *told) take(ev *event.Event) {
	t.events++
	t.outsiders += count(ev.Session == "")
	switch ev.Name {
	case event.UserMessage:
		t.messages++
		t.wishes += count(len(ev.Intents) > 0)
	case event.ToolCall:
		t.calls++
		t.effects += count(ev.Effect != "")
		if ev.Effect.Changes() || ev.Effect == event.Fetch {
			t.reaching++
			t.origins += count(len(ev.ArgOrigins) > 0)
		}
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// notes says what events lack.
func (t told) notes(add func(format string, args ...any)) {
	switch {
	case t.calls == 0:
		add("there are no calls of tools: no session can have evidence")
	case t.effects == 0:
		add("none of %d calls tells its effect (stakeout.effect): no session can have evidence", t.calls)
	case t.origins == 0 && t.reaching > 0:
		add("none of %d calls that reach out tells where its arguments come from (stakeout.arg.origins): sessions are told apart by tools and wishes alone", t.reaching)
	case 2*t.origins < t.reaching:
		add("%d of %d calls that reach out do not tell where their arguments come from (stakeout.arg.origins)", t.reaching-t.origins, t.reaching)
	}
	if t.messages > 0 && t.wishes == 0 {
		add("none of %d messages tells what the user asks for (stakeout.intents): nothing counts as unasked", t.messages)
	}
	if t.outsiders > 0 {
		add("%d of %d events are of no session (gen_ai.conversation.id): no label names them", t.outsiders, t.events)
	}
}

// notes says what keeps a report's figures from meaning what they seem to.
func (r *run) notes(labels map[string]Label, labelled bool) (notes []string) {
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if r.events == 0 {
		add("there are no events")
		return notes
	}
	if !r.cfg.WarmupUntil.IsZero() && len(r.peers.Groups) == 0 {
		add("no peers were learned: there are too few sessions before %s", r.cfg.WarmupUntil.Format(time.RFC3339))
	}
	if r.peers != nil && r.peers == r.cfg.InForce {
		add("agents are held against %s (rules.peers): if those were learned from these events, attacks among them are normal as far as nothing was found then", r.peers.Version)
	}
	if r.cfg.Trust != nil && r.cfg.Kafka == nil {
		add("files do not tell by which topic a line came: all is taken for the agent's own word, also what the response policy does not trust")
	}
	r.told.notes(add)
	r.noteGroups(add)
	known, judged, unfolded, attacks, early := 0, 0, 0, 0, 0
	other := map[string]int{}
	for id, s := range r.sessions {
		l, ok := labels[id]
		known += count(ok)
		learned := s.first.Time().Before(r.cfg.WarmupUntil)
		attacks += count(learned && l.Class == success)
		early += count(ok && l.Phase != "" && learned != (l.Phase == "warmup"))
		if !r.warmup(l, s) {
			judged++
			unfolded += count(ok && l.Fold == nil)
		}
		if ok && !slices.Contains([]string{benign, success, failed, direct}, l.Class) {
			other[l.Class]++
		}
	}
	if judged == 0 && len(r.sessions) > 0 && r.cfg.Peers == nil {
		add("all sessions belong to the warm-up: nothing is left to be judged")
	}
	switch {
	case !labelled:
		if len(r.found) > 0 {
			add("there are no labels: every finding counts as false, also one that is right")
		}
	case known == 0:
		add("none of the %d labels names a session of these events: all count as benign", len(labels))
	case known < len(r.sessions):
		add("%d of %d sessions have no label: they count as benign", len(r.sessions)-known, len(r.sessions))
	}
	if unfolded > 0 {
		add("%d labels have no fold: their sessions are in no curve", unfolded)
	}
	if attacks > 0 && !r.cfg.WarmupUntil.IsZero() {
		add("%d successful attacks are in the warm-up: they are taken for normal as far as nothing is found in them", attacks)
	}
	if early > 0 && !r.cfg.WarmupUntil.IsZero() {
		add("%d labels tell another phase than the end of the warm-up does: what counts is learned from otherwise than they say", early)
	}
	if labelled && known > 0 && r.peers == nil {
		add("peers are not used without the end of a warm-up or rules.peers: no session has evidence, and the curves say nothing")
	}
	for _, class := range slices.Sorted(maps.Keys(other)) {
		add("%d sessions are of class %q, which is none of %s, %s, %s and %s: findings in them are neither true nor false", other[class], class, benign, success, failed, direct)
	}
	return notes
}

// noteGroups says which peer groups were too small to be learned.
func (r *run) noteGroups(add func(format string, args ...any)) {
	if r.peers == nil || len(r.peers.Groups) == 0 {
		return
	}
	nameless, small, groups := 0, 0, map[string]bool{}
	for _, a := range r.agents {
		nameless += count(a.role == "")
		if !r.peers.Knows(a.role, a.tenant) {
			small++
			groups[a.group()] = true
		}
	}
	if nameless > 0 {
		add("%d of %d agents tell no role (gen_ai.agent.name): they are held against all agents", nameless, len(r.agents))
	}
	if small > 0 {
		names := slices.Sorted(maps.Keys(groups))
		add("%d agents are of %d peer groups that had too few sessions before the end of the warm-up, such as %s: they are held against others of their tenant, or of all", small, len(names), names[0])
	}
}
