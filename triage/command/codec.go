package command

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// EncodeAction makes the message that commands a. Attempt counts from 1: a
// later attempt is the same command, sent again because nobody answered.
func EncodeAction(s *Signer, a Action, attempt int) (*nats.Msg, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	m, err := seal(s, ActionSubject(a.Kind, a.Target.Agent), envelope{
		ID: a.ID, Source: source(Triage), Type: ActionType, Subject: a.Target.Agent, Time: a.Decided,
	}, a)
	if err != nil {
		return nil, err
	}
	m.Header.Set(AttemptHeader, strconv.Itoa(attempt))
	id := a.ID
	if attempt > 1 { // or the stream would drop it as a duplicate
		id += "." + strconv.Itoa(attempt)
	}
	m.Header.Set(nats.MsgIdHdr, id)
	return m, nil
}

// ParseAction believes a command only if triage signed it for this very
// subject. Whether it is still valid is for [Action.Fresh] to say.
func ParseAction(k Keyring, m Message) (Action, error) {
	e, a, _, err := unseal[Action](k, Triage, m, ActionType, actionPrefix)
	if err != nil {
		return Action{}, err
	}
	if err := a.check(); err != nil {
		return Action{}, err
	}
	if e.ID != a.ID || m.Subject != ActionSubject(a.Kind, a.Target.Agent) {
		return Action{}, fmt.Errorf("%s: envelope, subject and content disagree: %w", ActionType, ErrMalformed)
	}
	return a, nil
}

// Attempt reads the attempt of a command from its header; 1 if there is none.
func Attempt(h nats.Header) int {
	n, err := strconv.Atoi(h.Get(AttemptHeader))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// Fresh returns [ErrExpired] for an action whose time is over.
func (a Action) Fresh(now time.Time) error {
	if a.Expires != 0 && !now.Before(a.Expires.Time()) {
		return fmt.Errorf("action %s: at %s: %w", a.ID, a.Expires, ErrExpired)
	}
	return nil
}

func (a Action) check() error {
	bad := func(what string) error { return fmt.Errorf("%s: %s: %w", ActionType, what, ErrMalformed) }
	switch {
	case !validID(a.ID):
		return bad("id")
	case !validID(a.Incident):
		return bad("incident")
	case !validKind(a.Kind):
		return bad("kind")
	case a.Mode != Shadow && a.Mode != Approve && a.Mode != Auto:
		return bad("mode")
	case a.Step < 0:
		return bad("step")
	case a.Target.Agent == "":
		return bad("target has no agent")
	case len(Token(a.Target.Agent)) > maxToken:
		return bad("target's agent is too long")
	case a.Expires == 0 && a.Mode != Shadow:
		return bad("never expires")
	}
	return nil
}

// maxToken keeps a subject below what NATS accepts in one control line.
const maxToken = 3200

// EncodeOutcome makes the record of what became of an action.
func EncodeOutcome(s *Signer, o Outcome) (*nats.Msg, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	e := envelope{
		ID: o.id(), Source: source(Triage), Type: OutcomeType, Subject: o.Action.Target.Agent, Time: o.Time,
	}
	m, err := seal(s, OutcomeSubject(o.Action.ID), e, o)
	if err != nil {
		return nil, err
	}
	m.Header.Set(nats.MsgIdHdr, e.ID)
	return m, nil
}

// ParseOutcome believes an outcome only if triage signed it.
func ParseOutcome(k Keyring, m Message) (Outcome, error) {
	e, o, _, err := unseal[Outcome](k, Triage, m, OutcomeType, outcomePrefix)
	if err != nil {
		return Outcome{}, err
	}
	if err := o.check(); err != nil {
		return Outcome{}, err
	}
	if e.ID != o.id() || m.Subject != OutcomeSubject(o.Action.ID) {
		return Outcome{}, fmt.Errorf("%s: envelope, subject and content disagree: %w", OutcomeType, ErrMalformed)
	}
	return o, nil
}

// id tells o from what else is told of its action.
func (o Outcome) id() string {
	id := o.Action.ID + "." + string(o.Status)
	if o.Approved > 0 {
		id += "." + strconv.Itoa(o.Approved)
	}
	return id
}

func (o Outcome) check() error {
	if err := o.Action.check(); err != nil {
		return err
	}
	if !o.Status.valid() {
		return fmt.Errorf("%s: status: %w", OutcomeType, ErrMalformed)
	}
	return nil
}

// valid reports whether s is one of the statuses.
func (s Status) valid() bool {
	switch s {
	case Shadowed, Waiting, Held, Commanded, Verified, Unverified, Failed, Rejected, Expired, Undone:
		return true
	}
	return false
}

// EncodeAck makes an executor's answer. It carries no Nats-Msg-Id: whoever may
// publish answers could otherwise put a bad one first and have the good one
// dropped as its duplicate. Triage tells duplicates itself.
func EncodeAck(s *Signer, a Ack) (*nats.Msg, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	return seal(s, AckSubject(a.Action), envelope{
		ID: a.Action + "." + string(a.Status), Source: source(Executor), Type: AckType, Subject: a.Action, Time: a.Time,
	}, a)
}

// ParseAck believes an answer only if an executor signed it for this very
// action. It returns the executor's public key too.
func ParseAck(k Keyring, m Message) (a Ack, executor string, err error) {
	e, a, key, err := unseal[Ack](k, Executor, m, AckType, ackPrefix)
	if err != nil {
		return Ack{}, "", err
	}
	if err := a.check(); err != nil {
		return Ack{}, "", err
	}
	if e.ID != a.Action+"."+string(a.Status) || m.Subject != AckSubject(a.Action) {
		return Ack{}, "", fmt.Errorf("%s: envelope, subject and content disagree: %w", AckType, ErrMalformed)
	}
	return a, key, nil
}

func (a Ack) check() error {
	switch {
	case !validID(a.Action):
		return fmt.Errorf("%s: action: %w", AckType, ErrMalformed)
	case a.Status != Verified && a.Status != Unverified && a.Status != Failed:
		return fmt.Errorf("%s: status is %.20q, want verified, unverified or failed: %w", AckType, a.Status, ErrMalformed)
	case len(a.Detail) > maxDetail:
		return fmt.Errorf("%s: detail is %d bytes, want at most %d: %w", AckType, len(a.Detail), maxDetail, ErrMalformed)
	}
	return nil
}

// maxDetail bounds the sentences that executors and operators write, so that an outcome with one in it fits.
const maxDetail = 1024

// EncodeApproval makes an operator's decision. Like an ack it carries no Nats-Msg-Id.
func EncodeApproval(s *Signer, a Approval) (*nats.Msg, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	return seal(s, ApprovalSubject(a.Action), envelope{
		ID: a.Action + "." + string(a.Decision) + "." + s.public, Source: source(Operator), Type: ApprovalType, Subject: a.Action, Time: a.Time,
	}, a)
}

// ParseApproval believes a decision only if an operator signed it for this very
// action. It returns the operator's public key too: whether that operator may
// decide on this action is for its policy to say.
func ParseApproval(k Keyring, m Message) (a Approval, operator string, err error) {
	e, a, key, err := unseal[Approval](k, Operator, m, ApprovalType, approvalPrefix)
	if err != nil {
		return Approval{}, "", err
	}
	if err := a.check(); err != nil {
		return Approval{}, "", err
	}
	if e.ID != a.Action+"."+string(a.Decision)+"."+key || m.Subject != ApprovalSubject(a.Action) {
		return Approval{}, "", fmt.Errorf("%s: envelope, subject and content disagree: %w", ApprovalType, ErrMalformed)
	}
	return a, key, nil
}

func (a Approval) check() error {
	switch {
	case !validID(a.Action):
		return fmt.Errorf("%s: action: %w", ApprovalType, ErrMalformed)
	case !slices.Contains([]Decision{Approved, Refused, Undo, Close, Reopen, Reset, Reanchor, Confirm, Forget, Pull, Release, Unsuppress}, a.Decision):
		return fmt.Errorf("%s: decision is %.20q, want approve, reject, undo, close, reopen, reset, reanchor, confirm, forget, pull, release or unsuppress: %w", ApprovalType, a.Decision, ErrMalformed)
	case a.Decision.OfBaseline() != (a.Agent != "") || a.Agent != "" && a.Action != BaselineID(a.Agent):
		return fmt.Errorf("%s: agent and decision do not belong together: %w", ApprovalType, ErrMalformed)
	case a.Decision.OfBrake() && a.Action != BrakeID(a.Kind, a.Tenant) || !a.Decision.OfBrake() && (a.Kind != "" || a.Tenant != ""):
		return fmt.Errorf("%s: brake and decision do not belong together: %w", ApprovalType, ErrMalformed)
	case !a.suppresses():
		return fmt.Errorf("%s: until is %s, want none but for a close as false_positive or benign, and at most %s ahead: %w", ApprovalType, a.Until, MaxSuppression, ErrMalformed)
	case a.Decision == Close && !slices.Contains(Verdicts(), a.Verdict):
		return fmt.Errorf("%s: verdict is %.40q, want one of %v: %w", ApprovalType, a.Verdict, Verdicts(), ErrMalformed)
	case a.Decision != Close && a.Verdict != "":
		return fmt.Errorf("%s: a verdict on something that is not closed: %w", ApprovalType, ErrMalformed)
	case len(a.Why) > maxDetail:
		return fmt.Errorf("%s: why is %d bytes, want at most %d: %w", ApprovalType, len(a.Why), maxDetail, ErrMalformed)
	}
	return nil
}
