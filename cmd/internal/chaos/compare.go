package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/stakeout-project/stakeout/detect"
)

// A tally is what is wrong, by what it is about.
type tally struct {
	findings, actions   int
	lost, doubled       int // of lines, events, findings, profiles
	actionsDoubled      int
	problems            []string // the first of each kind
	problemsByKindCount map[string]int
}

func (t *tally) note(kind, format string, args ...any) {
	if t.problemsByKindCount == nil {
		t.problemsByKindCount = map[string]int{}
	}
	if t.problemsByKindCount[kind]++; t.problemsByKindCount[kind] <= 3 {
		t.problems = append(t.problems, kind+": "+fmt.Sprintf(format, args...))
	}
}

func (t *tally) lose(n int, kind, format string, args ...any) {
	t.lost += n
	t.note(kind+" lost", format, args...)
}

func (t *tally) double(n int, kind, format string, args ...any) {
	t.doubled += n
	t.note(kind+" doubled", format, args...)
}

func (t *tally) clean() bool { return t.lost == 0 && t.doubled == 0 && t.actionsDoubled == 0 }

// compare holds what there is against the reference.
func (w *world) compare(ctx context.Context, sent []line, rules detect.Rules) (*tally, error) {
	return w.compareBy(ctx, sent, rules, w.compareEvents, w.compareFindings, w.compareProfiles, w.compareActions)
}

func (w *world) compareBy(ctx context.Context, sent []line, rules detect.Rules, checks ...func(context.Context, *reference, *tally) error) (*tally, error) {
	raw, err := w.topic(ctx, w.app.Topics.Raw[0])
	if err != nil {
		return nil, err
	}
	ref, err := refer(raw, rules)
	if err != nil {
		return nil, err
	}
	t := &tally{findings: len(ref.findings)}
	for _, l := range sent {
		if l.id != "" && !ref.events[l.id] {
			t.lose(1, "line", "%s was acknowledged and is not in the raw topic", l.id)
		}
	}
	for _, check := range checks {
		if err := check(ctx, ref, t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// exactly wants each id once.
func exactly[V any](t *tally, kind string, want map[string]V, got map[string]int) {
	for _, id := range slices.Sorted(maps.Keys(want)) {
		switch n := got[id]; {
		case n == 0:
			t.lose(1, kind, "%s", id)
		case n > 1:
			t.double(n-1, kind, "%s stands there %d times", id, n)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[id]; !ok {
			t.double(got[id], kind, "%s should not be there", id)
		}
	}
}

func (w *world) compareEvents(ctx context.Context, ref *reference, t *tally) error {
	rows, err := w.counted(ctx, "SELECT id, count() FROM stakeout.events FINAL GROUP BY id")
	if err != nil {
		return err
	}
	exactly(t, "event", ref.events, rows)
	rejects, err := w.counted(ctx, "SELECT 'rejects', count() FROM stakeout.rejects FINAL")
	if err != nil {
		return err
	}
	switch n := rejects["rejects"]; {
	case n < ref.rejects:
		t.lose(ref.rejects-n, "reject", "%d of %d", n, ref.rejects)
	case n > ref.rejects:
		t.double(n-ref.rejects, "reject", "%d instead of %d", n, ref.rejects)
	}
	return nil
}

// compareFindings wants every finding once in ClickHouse, and in the topic at
// least once and each time the same, byte for byte.
func (w *world) compareFindings(ctx context.Context, ref *reference, t *tally) error {
	records, err := w.topic(ctx, w.app.Topics.Findings)
	if err != nil {
		return err
	}
	published := map[string]int{}
	for _, r := range records {
		var f struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(r.Value, &f); err != nil {
			return fmt.Errorf("finding at %d/%d: %w", r.Partition, r.Offset, err)
		}
		published[f.ID] = 1
		have := string(r.Value)
		if want, ok := ref.findings[f.ID]; ok && want != have {
			t.double(1, "finding", "%s is published as\n%s\ninstead of\n%s", f.ID, have, want)
		}
	}
	exactly(t, "published finding", ref.findings, published)
	rows, err := w.counted(ctx, "SELECT id, count() FROM stakeout.findings FINAL GROUP BY id")
	if err != nil {
		return err
	}
	exactly(t, "stored finding", ref.findings, rows)
	return nil
}

// compareProfiles wants every event judged once: a profile counts those it
// has learned.
func (w *world) compareProfiles(ctx context.Context, ref *reference, t *tally) error {
	records, err := w.topic(ctx, w.app.Topics.Profiles)
	if err != nil {
		return err
	}
	got := map[string]detect.Summary{}
	for _, r := range records {
		agent := string(r.Key)
		if r.Value == nil {
			delete(got, agent)
			continue
		}
		s, err := detect.Summarize(agent, r.Value)
		if err != nil {
			return err
		}
		got[agent] = s
	}
	for _, agent := range slices.Sorted(maps.Keys(ref.profiles)) {
		have, want := got[agent], ref.profiles[agent]
		switch {
		case have == want:
		case have.Events > want.Events:
			t.double(int(have.Events-want.Events), "judgement", "%s: %+v instead of %+v", agent, have, want)
		default:
			t.lose(max(1, int(want.Events-have.Events)), "judgement", "%s: %+v instead of %+v", agent, have, want)
		}
	}
	return nil
}

// compareActions wants one command for each incident, and the outcome of each
// in ClickHouse.
func (w *world) compareActions(ctx context.Context, ref *reference, t *tally) error {
	commands, err := w.commands(ctx)
	if err != nil {
		return err
	}
	stored, err := w.counted(ctx, "SELECT id, count() FROM stakeout.actions FINAL GROUP BY id")
	if err != nil {
		return err
	}
	times, incidents := map[string]int{}, map[[2]string]string{}
	for _, c := range commands {
		if times[c.id]++; times[c.id] > 1 {
			t.actionsDoubled++
			t.note("action doubled", "%s is commanded %d times", c.id, times[c.id])
			continue
		}
		at := [2]string{c.agent, c.session}
		if other, ok := incidents[at]; ok || !ref.sessions[at] {
			t.actionsDoubled++
			t.note("action doubled", "%s for %q, beside %q", c.id, at, other)
		}
		incidents[at] = c.id
		if stored[c.id] != 1 {
			t.lose(1, "action", "%s stands in ClickHouse %d times", c.id, stored[c.id])
		}
	}
	t.actions = len(times)
	for at := range ref.sessions {
		if _, ok := incidents[at]; !ok {
			t.lose(1, "action", "nothing is commanded for %q", at)
		}
	}
	return nil
}
