package executor

import (
	"context"
	"strings"
	"sync"

	"github.com/stakeout-project/stakeout/triage/command"
)

// Several makes one actor of several of the same kind, which work at the same
// time. A page is verified when one of them reached a person; anything else,
// when all of them are done.
func Several(actors ...Actor) Actor {
	if len(actors) == 1 {
		return actors[0]
	}
	return several(actors)
}

type several []Actor

// Kind implements [Actor].
func (s several) Kind() command.Kind { return s[0].Kind() }

// Do implements [Actor].
func (s several) Do(ctx context.Context, a command.Action) (command.Status, string) {
	statuses, details := make([]command.Status, len(s)), make([]string, len(s))
	var wg sync.WaitGroup
	for i, actor := range s {
		wg.Go(func() { statuses[i], details[i] = actor.Do(ctx, a) })
	}
	wg.Wait()
	count := map[command.Status]int{}
	for _, status := range statuses {
		count[status]++
	}
	status := command.Failed
	switch n := count[command.Verified]; {
	case n == len(s), n > 0 && s.Kind() == command.Page:
		status = command.Verified
	case count[command.Failed] == 0:
		status = command.Unverified
	}
	return status, strings.Join(details, "; ")
}
