package detect

import (
	"fmt"
	"iter"
	"math"
	"strings"
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
// events are in it has been forgotten.
func (e *Engine) ChangedBefore(offset int64) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, id := range e.gone {
			if !yield(id, nil) {
				return
			}
		}
		var buf []byte
		n := 0
		for ; n < len(e.changed) && e.changed[n].since < offset; n++ {
			a := e.changed[n]
			if a.gone {
				continue
			}
			buf = a.profile.AppendBinary(buf[:0])
			if !yield(a.id, buf) {
				return
			}
		}
		for _, a := range e.changed[:n] {
			a.changed, a.stored = false, true
		}
		rest := copy(e.changed, e.changed[n:])
		clear(e.changed[rest:]) // an agent that was forgotten is to be freed
		e.changed, e.gone = e.changed[:rest], nil
	}
}

// Unwritten returns how many profiles have changes that were not yet yielded, and
// the offset of the first event among these changes; without any, the largest
// there is. All before it has been yielded.
func (e *Engine) Unwritten() (profiles int, first int64) {
	if len(e.changed) == 0 {
		return 0, math.MaxInt64
	}
	return len(e.changed), e.changed[0].since
}

// Restore takes in a profile as Changed yielded it; what is nil forgets the
// agent. Of two encodings for one agent the one that has taken in more stands.
func (e *Engine) Restore(id string, encoded []byte) error {
	e.order = nil
	if encoded == nil {
		delete(e.agents, id)
		return nil
	}
	restored := &agent{id: strings.Clone(id), stored: true}
	if err := restored.profile.UnmarshalBinary(encoded); err != nil {
		return fmt.Errorf("profile of %s: %w", id, err)
	}
	if have := e.agents[id]; have == nil || have.profile.seen.applied < restored.profile.seen.applied {
		e.agents[restored.id] = restored
	}
	return nil
}
