package store

import "time"

// patience says when what has failed is tried again: each time later, because a try
// may read all that Kafka keeps.
type patience struct {
	wait time.Duration
	next time.Time
}

// lastAsideWait is the longest that [patience] waits: a third of the time after which
// an alert tells of parts that are not back.
const lastAsideWait = 5 * time.Minute

func (p *patience) ready(now time.Time) bool { return !now.Before(p.next) }

// note takes in what came of a try.
func (p *patience) note(now time.Time, err error) {
	if err == nil {
		*p = patience{}
		return
	}
	p.wait = min(max(2*p.wait, asideInterval), lastAsideWait)
	p.next = now.Add(p.wait)
}
