package detect

import (
	"fmt"
	"iter"
	"math"
	"slices"
)

// Changed yields the agents that were forgotten since it last ran to its end,
// each with nil, and then those whose profiles changed, in order of change, with
// their encodings, each valid until the next.
func (e *Engine) Changed() iter.Seq2[string, []byte] { return e.ChangedBefore(math.MaxInt64) }

// ChangedBefore is [Engine.Changed] without the profiles whose first change not yet
// yielded is the event at an offset or a later one. So an agent that is busy need
// not be written each time, and what was written still lets the log be replayed
// from [Engine.Unwritten]. At a limit of agents a replay forgets the same ones as
// long as it covers fewer events than the limit has agents: then nobody whose
// events are in it has been forgotten. A profile that began as a copy of another comes
// before that one the first time, and perhaps again in its turn.
func (e *Engine) ChangedBefore(offset int64) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, id := range e.gone {
			if !yield(id, nil) {
				return
			}
		}
		var buf []byte
		n := 0
		for ; n < len(e.changed); n++ {
			a := e.changed[n]
			if a == nil {
				continue
			}
			if a.since >= offset {
				break
			}
			id := e.agents.id(a)
			if a.copied { // first the copy
				if beside := e.agents.find(id + apart); beside != nil && !beside.stored {
					buf = beside.profile.AppendBinary(buf[:0])
					if !yield(id+apart, buf) {
						return
					}
				}
			}
			buf = a.profile.AppendBinary(buf[:0])
			if !yield(id, buf) {
				return
			}
		}
		for _, a := range e.changed[:n] {
			if a != nil {
				a.changed, a.stored, a.copied = false, true, false
			}
		}
		e.changed, e.gone = slices.Delete(e.changed, 0, n), nil
		e.yielded += n
	}
}

// Unwritten returns how many profiles at most have changes that were not yet yielded,
// and the offset of the first event among these changes; without any, the largest
// there is. All before it has been yielded.
func (e *Engine) Unwritten() (profiles int, first int64) {
	for i, a := range e.changed {
		if a != nil {
			return len(e.changed) - i, a.since
		}
	}
	return 0, math.MaxInt64
}

// Restore takes in a profile as Changed yielded it; what is nil forgets the
// agent. Of two encodings for one agent the one that has taken in more stands.
func (e *Engine) Restore(id string, encoded []byte) error {
	e.order = nil
	have := e.agents.find(id)
	if encoded == nil {
		if have != nil {
			e.forget(have)
		}
		return nil
	}
	var p Profile
	if err := p.UnmarshalBinary(encoded); err != nil {
		return fmt.Errorf("profile of %s: %w", id, err)
	}
	if have == nil {
		have = e.agents.add(id)
		have.profile.seen.applied = math.MinInt64
	}
	if have.profile.seen.applied < p.seen.applied {
		have.profile, have.stored = p, true
	}
	return nil
}
