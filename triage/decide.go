package triage

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// A proposal is an action as the policy wants it, before the guards.
type proposal struct {
	Action command.Action  `json:"action"`
	Ladder []Step          `json:"ladder"`          // the action's own step, then what may follow
	Event  event.Timestamp `json:"event,omitempty"` // time of the event that calls for it now; 0: its age does not matter
	Undid  string          `json:"undid,omitempty"` // the operator who undid the same action
}

// maxFindings bounds how many findings an action quotes.
const (
	maxFindings = 16
	maxNearest  = 3
)

// propose returns what the policy wants done about f, as part of its incident:
// the step of the ladder that the agent has climbed to, and each of those that
// are taken beside it.
func propose(p *Policy, i *incident, f *detect.Finding, own *risk, from stamps, now time.Time) []proposal {
	entry, ok := p.match(f)
	if !ok {
		return nil
	}
	at := own.score(p.Risk, f.Time)
	rung := entry.rung(at.Score, own, f)
	all := []proposal{proposeStep(entry, entry.Ladder[rung:], rung, i, f, at, now)}
	for _, s := range entry.Also {
		all = append(all, proposeStep(entry, []Step{s}, 0, i, f, at, now))
	}
	for n := range all {
		a := &all[n].Action
		a.Source, a.Trust, a.Mixed = from.topic, from.trust, from.mixed(p)
	}
	return all
}

func proposeStep(entry Entry, ladder []Step, rung int, i *incident, f *detect.Finding, at command.Risk, now time.Time) proposal {
	step := ladder[0]
	target := command.Target{
		Agent: f.Agent, Session: f.Session, User: f.User, Tenant: f.Tenant,
		Credential: f.Credential.ID, Issuer: f.Credential.Issuer, Subject: f.Credential.Subject,
	}
	limits := step.limits(f)
	if step.Kind == command.QuarantineMemory {
		target.Memory = first(entities(f, detect.MemoryEntity))
	}
	return proposal{
		Action: command.Action{
			ID:       hash(i.under(step.Kind, f), string(step.Kind), addressee(step.Kind, target, limits), fmt.Sprint(rung)),
			Incident: i.ID, Kind: step.Kind, Mode: step.Mode, Step: rung, Target: target, Limits: limits, Risk: &at, Policy: entry.Name,
			Reason:   cut(f.Reason, maxText),
			Findings: slices.Clone(i.Findings[max(0, len(i.Findings)-maxFindings):]),
			Severity: int(i.Severity), Claim: claim(f),
			Occurred: i.First, Ingested: i.Ingested, Found: i.Found, Decided: event.At(now), Expires: event.At(now.Add(step.expires())),
		},
		Ladder: ladder,
		Event:  f.Time,
	}
}

// claim is what f says, in bounds.
func claim(f *detect.Finding) *command.Claim {
	var nearest []string
	for _, n := range f.Nearest[:min(len(f.Nearest), maxNearest)] {
		nearest = append(nearest, cut(n, maxID))
	}
	return &command.Claim{
		Finding: f.ID, Detector: cut(f.Detector, maxID), Threat: f.Threat, Time: f.Time, Role: f.Role, Tenant: f.Tenant,
		Observed: cut(f.Observed, maxText), Baseline: cut(f.Baseline, maxText), PValue: f.PValue,
		Nearest: nearest, Normal: cut(f.Normal, maxText),
		ASI: f.ASI[:min(len(f.ASI), maxFindings)], ATLAS: f.ATLAS[:min(len(f.ATLAS), maxFindings)],
	}
}

// addressee is the part of a target that an action of kind k is aimed at: the
// same credential is revoked once per incident, whoever used it.
func addressee(k command.Kind, t command.Target, l *command.Limits) string {
	switch {
	case k == command.RevokeToken:
		return t.Issuer + "\x00" + t.Credential
	case k == command.QuarantineMemory:
		return t.Memory
	case k == command.BlockTool && l != nil:
		return t.Agent + "\x00" + strings.Join(l.Tools, "\x00")
	}
	return t.Agent + "\x00" + t.Session
}

// lastPage is the page behind the end of every ladder.
func lastPage() Step {
	return Step{Kind: command.Page, Mode: command.Auto, Expires: time.Hour, Retries: 3}
}

// next returns what follows from a cause: the next step of the ladder when r was
// carried out and did not hold, a page otherwise.
func (r *record) next(cause string, now time.Time) proposal {
	a := r.Action
	ladder := []Step{lastPage()}
	for _, s := range r.Ladder[1:] {
		if s.Kind == command.Page { // the policy knows how often to try
			s.Mode = command.Auto
			ladder[0] = s
			break
		}
	}
	held := cause == string(command.Unverified) || cause == string(command.Failed)
	if held && len(r.Ladder) > 1 && r.Ladder[1].Kind != command.Page {
		ladder = r.Ladder[1:]
	}
	step := ladder[0]
	a.Kind, a.Mode, a.Step = step.Kind, step.Mode, r.Action.Step+1
	a.Decided, a.Expires = event.At(now), event.At(now.Add(step.expires()))
	a.Limits = step.limitsOf(a)
	if step.Kind == command.Page {
		a.ID = hash(r.Action.ID, string(command.Page), cause)
		a.Reason = cut(r.tell(cause), maxText)
	} else {
		a.ID = hash(a.Incident, string(step.Kind), addressee(step.Kind, a.Target, a.Limits), fmt.Sprint(a.Step))
	}
	return proposal{Action: a, Ladder: ladder}
}

// tell says to a person why they are called.
func (r *record) tell(cause string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of agent %s", r.Action.Kind, r.Action.Target.Agent)
	if c := r.Action.Target.Credential; c != "" && r.Action.Kind == command.RevokeToken {
		fmt.Fprintf(&b, " (credential %s)", c)
	}
	switch cause {
	case causeWaiting:
		fmt.Fprintf(&b, " waits for approval until %s as action %s", r.Action.Expires, r.Action.ID)
		if why := r.waited(); why != "" {
			b.WriteString(", because " + why)
		}
	case causeContradicted:
		fmt.Fprintf(&b, " is %s, but an executor answered otherwise", r.Status)
	default:
		b.WriteString(" is " + cause)
		for _, c := range slices.Backward(r.Log) {
			if string(c.Status) == cause && c.Detail != "" {
				b.WriteString(": " + c.Detail)
				break
			}
		}
	}
	b.WriteString(". " + r.Action.Reason)
	return b.String()
}

// hash makes an id of 128 bits out of parts, which no other parts share.
func hash(parts ...string) string {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
