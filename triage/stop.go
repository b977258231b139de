package triage

import (
	"context"
	"sync"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// A stop is a containment that was verified: from then on its agent must not
// act, or not with its credential. It stands under its own key, so that whoever
// watches events knows of it.
type stop struct {
	Action     string          `json:"action"`
	Incident   string          `json:"incident"`
	Kind       command.Kind    `json:"kind"`
	Agent      string          `json:"agent"`
	Tenant     string          `json:"tenant,omitempty"` // that the agent was known to be of
	Session    string          `json:"session,omitempty"`
	Credential string          `json:"credential,omitempty"`
	Issuer     string          `json:"issuer,omitempty"`
	Since      event.Timestamp `json:"since"`           // when it was verified
	Until      event.Timestamp `json:"until,omitempty"` // of the agent; a revoked credential stays revoked
	Freed      bool            `json:"freed,omitempty"` // the agent, by an operator or the end of a lease
}

const stopPrefix = "stopped."

// stops reports whether an action of kind k, once verified, ends what an agent can do.
func stops(k command.Kind) bool {
	switch k {
	case command.RevokeToken, command.Suspend, command.Restrict, command.TerminateSession:
		return true
	}
	return false
}

// toNote reports whether r has come to hold or to free its agent since that was noted.
func (r *record) toNote() bool {
	return stops(r.Action.Kind) && r.was(command.Verified) && r.Noted != r.Status && (r.Status == command.Verified || r.Status == command.Undone)
}

// note writes down that the agent of r is stopped, or is so no longer.
func (t *Triage) note(ctx context.Context, b *bus, r *record) error {
	if err := t.at("note"); err != nil {
		return err
	}
	a, freed := r.Action, r.Status == command.Undone
	key := stopPrefix + a.ID
	if freed && a.Kind != command.RevokeToken {
		_, rev, err := load[stop](ctx, b.records, key)
		if err == nil && rev != 0 {
			err = remove(ctx, b.records, key, rev)
		}
		if err != nil {
			return err
		}
	} else {
		s := stop{Action: a.ID, Incident: a.Incident, Kind: a.Kind, Agent: a.Target.Agent, Tenant: a.Target.Tenant, Session: a.Target.Session, Since: r.since(command.Verified), Until: r.Lease, Freed: freed}
		if a.Kind == command.RevokeToken {
			s.Credential, s.Issuer = a.Target.Credential, a.Target.Issuer
		}
		if s.Until == 0 {
			s.Until = event.At(s.Since.Time().Add(t.policy.Load().postureFor()))
		}
		if err := mark(ctx, b.records, key, s); err != nil {
			return err
		}
	}
	r.Noted = r.Status
	return nil
}

// since is when r came to a status; 0 if it never did.
func (r *record) since(s command.Status) event.Timestamp {
	for _, c := range r.Log {
		if c.Status == s {
			return c.Time
		}
	}
	return 0
}

// broken reports whether an event is something that its agent must not do any
// more, and says what. What a gateway denied is no breach but its opposite, and
// shows in the log as an error.
func (s *stop) broken(ev *event.Event, slack time.Duration) (what string, ok bool) {
	if !acts(ev) || ev.Time.Sub(s.Since) <= slack {
		return "", false
	}
	if s.Credential != "" && ev.CredentialID == s.Credential && (s.Issuer == "" || ev.CredentialIssuer == "" || s.Issuer == ev.CredentialIssuer) {
		return "credential " + s.Credential + ", which was revoked", true
	}
	if ev.Agent != s.Agent || s.Freed || ev.Time > s.Until {
		return "", false
	}
	switch s.Kind {
	case command.Restrict:
		return "an effect that changes the world, which was denied", ev.Effect.Changes()
	case command.TerminateSession:
		return "session " + s.Session + ", which was terminated", ev.Session == s.Session
	}
	return "its agency, which was suspended", true
}

// acts reports whether the agent did something with ev that containment takes away.
func acts(ev *event.Event) bool {
	switch ev.Name {
	case event.ToolCall, event.MemoryWrite, event.MemoryDelete, event.Delegation, event.CredentialUse, event.CredentialIssue:
		return ev.ErrorType == ""
	}
	return false
}

// stopped are the stops of all triage processes, as this one knows them.
type stopped struct {
	mu          sync.RWMutex
	live        bool // all that there were are known
	all         map[string]stop
	agents      map[string][]string // agent -> actions
	credentials map[string][]string // credential -> actions
}

func newStopped() *stopped {
	return &stopped{all: map[string]stop{}, agents: map[string][]string{}, credentials: map[string][]string{}}
}

func (s *stopped) set(x stop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.all[x.Action]; !known {
		s.agents[x.Agent] = append(s.agents[x.Agent], x.Action)
		if x.Credential != "" {
			s.credentials[x.Credential] = append(s.credentials[x.Credential], x.Action)
		}
	}
	s.all[x.Action] = x
}

func (s *stopped) remove(action string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, action) // the lists may go on naming it
}

func (s *stopped) begin(live bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = live
}

func (s *stopped) known() (live bool, n int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.live, len(s.all)
}

// about lists the stops of an agent or a credential.
func (s *stopped) about(agent, credential []byte) (found []stop) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, id := range s.agents[string(agent)] {
		if x, ok := s.all[id]; ok {
			found = append(found, x)
		}
	}
	for _, id := range s.credentials[string(credential)] {
		if x, ok := s.all[id]; ok && x.Agent != string(agent) {
			found = append(found, x)
		}
	}
	return found
}

// followStops keeps s up to date until ctx ends.
func (t *Triage) followStops(ctx context.Context, s *stopped) {
	t.persist(ctx, "watch of stopped agents interrupted", func() error {
		defer s.begin(false)
		b, err := t.connect(ctx)
		if err != nil {
			return err
		}
		return follow(ctx, b.records, stopPrefix, func(_ string, x stop) { s.set(x) }, s.remove, func() { s.begin(true) })
	})
}
