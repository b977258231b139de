package backtest

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

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
	known, judged := 0, 0
	other := map[string]int{}
	for id, s := range r.sessions {
		l, ok := labels[id]
		if ok {
			known++
		}
		if !r.warmup(l, s) {
			judged++
		}
		if ok && !slices.Contains([]string{benign, success, failed, direct}, l.Class) {
			other[l.Class]++
		}
	}
	if judged == 0 && r.cfg.Peers == nil {
		add("all sessions belong to the warm-up: nothing is left to be judged")
	}
	switch {
	case !labelled:
	case known == 0:
		add("none of the %d labels names a session of these events: all count as benign", len(labels))
	case known < len(r.sessions):
		add("%d of %d sessions have no label: they count as benign", len(r.sessions)-known, len(r.sessions))
	}
	for _, class := range slices.Sorted(maps.Keys(other)) {
		add("%d sessions are of class %q, which is none of %s, %s, %s and %s: findings in them are neither true nor false", other[class], class, benign, success, failed, direct)
	}
	return notes
}
