package detect

import "github.com/stakeout-project/stakeout/ingest/event"

// poisonSlots is how many memory records of untrusted origin are remembered.
const poisonSlots = 4

// A poisonedRecord is a memory record whose content came from untrusted origin.
type poisonedRecord struct {
	record  uint32    // fingerprint of store and record id
	session uint32    // fingerprint of the one that wrote it
	written Reference // to the event that wrote it
}

// recalled says by which event a session read a poisoned record.
type recalled struct {
	session uint32
	read    Reference
}

// poisoned returns what is known of the record that ev names, nil if nothing is held against it.
func (p *Profile) poisoned(ev *event.Event) *poisonedRecord {
	if ev.Record == "" {
		return nil
	}
	return p.poison(fingerprint(hash(ev.Store, ev.Record)))
}

func (p *Profile) poison(record uint32) *poisonedRecord {
	for i := range p.poisons {
		if record != 0 && p.poisons[i].record == record {
			return &p.poisons[i]
		}
	}
	return nil
}

// readsPoison reports whether ev reads a record with content of untrusted origin
// that this session did not write itself: because the read says so, or because
// an earlier session of this agent wrote it.
func (p *Profile) readsPoison(ev *event.Event, s *Session) bool {
	m := p.poisoned(ev)
	if m != nil && m.session == s.id {
		return false
	}
	return m != nil || ev.Origin == event.FromUntrusted && ev.Record != ""
}

// wrote follows a write to memory. Content of untrusted origin poisons the
// record, content of another origin cleans it. Where the origin is missing,
// a session that has seen untrusted content is taken to have written it down.
func (p *Profile) wrote(ev *event.Event, s *Session) {
	if ev.Record == "" {
		return
	}
	untrusted := ev.Origin == event.FromUntrusted || ev.Origin == "" && !s.tainted.empty()
	m := p.poisoned(ev)
	switch {
	case !untrusted && m != nil:
		*m = poisonedRecord{}
	case untrusted && m == nil:
		m = &p.poisons[p.nextPoison%poisonSlots]
		p.nextPoison = (p.nextPoison + 1) % poisonSlots
		fallthrough
	case untrusted:
		*m = poisonedRecord{record: fingerprint(hash(ev.Store, ev.Record)), session: s.id, written: reference(ev.ID)}
	}
}
