package triage

import (
	"context"
	"fmt"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

// Operations puts an operator's decision about the baseline of an agent into the
// log of its events. An error has it tried again, with the same id.
type Operations func(context.Context, Operation) error

// An Operation is such a decision.
type Operation struct {
	ID     string
	Agent  string
	Tenant string // that the findings name on which it is a verdict
	Verb   detect.Operation
}

// UseOperations says where decisions about baselines go, and verdicts on findings. It
// is to be called before Run; without it the former are refused, and the latter only suppress.
func (t *Triage) UseOperations(o Operations) { t.operations = o }

// decisionAge is how old a decision about a baseline may be: a longer-lived one
// could be kept, and sent again by somebody else when it suits him. No decision that
// counts once may be as far ahead.
const decisionAge = 10 * time.Minute

// operate hands on a decision about a baseline that an operator has signed.
func (t *Triage) operate(ctx context.Context, _ *bus, a command.Approval, operator string) (string, error) {
	switch age := t.now().Sub(a.Time.Time()); {
	case t.operations == nil:
		return "unknown", nil
	case age > decisionAge:
		return "late", nil
	case a.Decision == command.Forget && !t.isCanary(a.Agent): // anybody else would lose his past
		return "not entitled", nil
	}
	id := hash("baseline", a.Agent, string(a.Decision), fmt.Sprint(int64(a.Time)), operator)
	if err := t.operations(ctx, Operation{ID: id, Agent: a.Agent, Verb: detect.Operation(a.Decision)}); err != nil {
		return "", fmt.Errorf("baseline of %s: %w", a.Agent, err)
	}
	return string(a.Decision), nil
}
