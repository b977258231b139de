package triage

import (
	"cmp"
	"slices"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// An incident is findings that belong together: of the same agent and session,
// or about something that several agents share. It stands under its id, which
// comes from the finding that opened it, so that what an agent without sessions
// does next month is another incident. See correlate.go for how findings come to it.
type incident struct {
	ID       string          `json:"id"`
	Agent    string          `json:"agent"`
	Session  string          `json:"session,omitempty"`
	Severity detect.Severity `json:"severity_id"`        // highest so far
	First    event.Timestamp `json:"first"`              // time of the event of the finding that opened it; never changes
	Ingested event.Timestamp `json:"ingested,omitempty"` // when Kafka took that event in
	Found    event.Timestamp `json:"found,omitempty"`    // when it was judged
	Last     event.Timestamp `json:"last"`               // latest time of an event
	Count    uint64          `json:"count"`

	Suppressed uint64 `json:"suppressed,omitempty"` // of these, those that nothing was done about

	Findings []string   `json:"findings"` // ids of the last ones, oldest first
	Outbox   []proposal `json:"outbox,omitempty"`

	Members  []member `json:"members,omitempty"` // the agents in it, in the order they came
	Entities []shared `json:"entities,omitempty"`
	Merged   []string `json:"merged,omitempty"` // ids of the incidents that were merged into it
	Into     string   `json:"into,omitempty"`   // id of the incident it was merged into: it does not change any more
	Absorbed bool     `json:"absorbed,omitempty"`

	Risk *command.Risk `json:"risk,omitempty"` // the highest of its agents

	Threats   []string        `json:"threats,omitempty"`
	Detectors []string        `json:"detectors,omitempty"`
	Closed    bool            `json:"closed,omitempty"`
	Verdict   command.Verdict `json:"verdict,omitempty"`
	Withdrawn command.Verdict `json:"withdrawn,omitempty"` // that it had before it was reopened
	By        string          `json:"by,omitempty"`        // the operator who closed or reopened it
	Why       string          `json:"why,omitempty"`
	Until     event.Timestamp `json:"until,omitempty"` // until when findings like those in it are not acted on
	Turns     int             `json:"turns,omitempty"` // how often it was closed or reopened
	Told      int             `json:"told,omitempty"`  // turns that were told

	Acknowledged event.Timestamp `json:"acknowledged,omitempty"` // when a person first decided on it or on one of its actions
	Turned       event.Timestamp `json:"turned,omitempty"`       // when it was last closed or reopened

	revision uint64 // under which it stands; 0 for not at all
}

// A member is an agent in an incident.
type member struct {
	Agent string `json:"agent"`
	Count uint64 `json:"count"`
	Last  string `json:"last"` // hash of the id of its last finding

	Detectors   []string `json:"detectors,omitempty"`   // of its findings
	Unheard     []string `json:"unheard,omitempty"`     // of those about it that rest on the word of who may not speak for it
	Novel       []string `json:"novel,omitempty"`       // what they found it do for the first time
	Tenant      string   `json:"tenant,omitempty"`      // that the last of them named
	Suppression string   `json:"suppression,omitempty"` // id of that under which its last finding fell

	Under string `json:"under"` // id of the incident that it came to
}

// shared is an entity that findings of an incident are about.
type shared struct {
	detect.Entity
	Agent string `json:"agent"` // whose finding brought it
	Under string `json:"under"` // id of the incident that it came to
}

const (
	maxHistory  = 64   // findings that an incident lists
	maxID       = 512  // bytes of a finding's id
	maxName     = 1024 // bytes of any other name, as in an event
	maxKinds    = 16   // of threats and detectors that an incident lists
	maxMembers  = 64
	maxShared   = 32
	maxMerged   = 64
	maxAgentsKB = 16 << 10 // bytes of the names of all members
)

// open reports whether findings can still join i.
func (i *incident) open() bool { return i.ID != "" && !i.Closed && i.Into == "" }

// has reports whether f has joined i. An agent's findings come one after the
// other, so its last one tells also where the list has no room for all.
func (i *incident) has(f *detect.Finding) bool {
	h := hash(f.ID)
	return slices.Contains(i.Findings, f.ID) || slices.ContainsFunc(i.Members, func(m member) bool { return m.Last == h })
}

// room reports whether a finding about the agent can join i without exceeding its bounds.
func (i *incident) room(agent string) bool {
	size := len(agent)
	for _, m := range i.Members {
		if m.Agent == agent {
			return true
		}
		size += len(m.Agent)
	}
	return len(i.Members) < maxMembers && size <= maxAgentsKB
}

// before orders incidents: of two that are merged the first one stays. Both
// parts of the order never change, so that all processes agree on it.
func (i *incident) before(o *incident) bool {
	return i.First < o.First || i.First == o.First && i.ID < o.ID
}

// add takes f into i.
func (i *incident) add(f *detect.Finding) {
	i.Count++
	i.grow([]string{f.Threat}, []string{f.Detector})
	i.Severity, i.Last = max(i.Severity, f.Severity), max(i.Last, f.Time)
	i.Findings = tail(append(i.Findings, f.ID), maxHistory)
	n := slices.IndexFunc(i.Members, func(m member) bool { return m.Agent == f.Agent })
	if n < 0 {
		n = len(i.Members)
		i.Members = append(i.Members, member{Agent: f.Agent, Under: i.ID})
	}
	i.Members[n].Count++
	i.Members[n].Last = hash(f.ID)
	for _, e := range entitiesOf(f) {
		if e.Kind == incidentEntity {
			continue
		}
		i.share(shared{Entity: e, Agent: f.Agent, Under: i.ID})
	}
}

// grow lists kinds of findings.
func (i *incident) grow(threats, detectors []string) {
	add := func(list *[]string, names []string) {
		for _, name := range names {
			if name = cut(name, 128); name != "" && len(*list) < maxKinds && !slices.Contains(*list, name) {
				*list = append(*list, name)
			}
		}
	}
	add(&i.Threats, threats)
	add(&i.Detectors, detectors)
}

func (i *incident) share(s shared) {
	if len(i.Entities) < maxShared && i.bringer(s.Entity) == "" {
		i.Entities = append(i.Entities, s)
	}
}

// bringer is the agent whose finding was the first about the entity; empty if there is none.
func (i *incident) bringer(e detect.Entity) string {
	for _, s := range i.Entities {
		if s.Entity == e {
			return s.Agent
		}
	}
	return ""
}

// under is the id of the incident in whose name an action of kind k about f is
// taken: an incident that was merged into this one has taken the same action in
// its own name, and it is not to be taken again.
func (i *incident) under(k command.Kind, f *detect.Finding) string {
	if k == command.RevokeToken {
		for _, s := range i.Entities {
			if s.Kind == detect.CredentialEntity && s.Name == f.Credential.ID {
				return s.Under
			}
		}
		return i.ID
	}
	for _, m := range i.Members {
		if m.Agent == f.Agent {
			return m.Under
		}
	}
	return i.ID
}

// absorb takes in what o has come to, and reports whether that was to be done.
func (i *incident) absorb(o *incident) bool {
	if slices.Contains(i.Merged, o.ID) {
		return false
	}
	i.Merged = append(append(i.Merged, o.ID), o.Merged...)
	i.Count += o.Count
	i.Suppressed += o.Suppressed
	i.grow(o.Threats, o.Detectors)
	i.Severity, i.Last = max(i.Severity, o.Severity), max(i.Last, o.Last)
	i.Findings = tail(append(i.Findings, o.Findings...), maxHistory)
	if i.Acknowledged == 0 || o.Acknowledged != 0 && o.Acknowledged < i.Acknowledged {
		i.Acknowledged = o.Acknowledged
	}
	for _, m := range o.Members {
		if n := slices.IndexFunc(i.Members, func(x member) bool { return x.Agent == m.Agent }); n >= 0 {
			i.Members[n].Count += m.Count
			i.Members[n].Detectors = union(i.Members[n].Detectors, m.Detectors, maxNoted)
			i.Members[n].Unheard = union(i.Members[n].Unheard, m.Unheard, maxNoted)
			i.Members[n].Novel = union(i.Members[n].Novel, m.Novel, maxNovel)
			i.Members[n].Tenant = cmp.Or(m.Tenant, i.Members[n].Tenant)
		} else {
			i.Members = append(i.Members, m)
		}
	}
	for _, s := range o.Entities {
		i.share(s)
	}
	return true
}

// absorbs reports whether i has room for all of o.
func (i *incident) absorbs(o *incident) bool {
	both := incident{Members: slices.Clone(i.Members)}
	for _, m := range o.Members {
		if !both.room(m.Agent) {
			return false
		}
		if !slices.ContainsFunc(both.Members, func(x member) bool { return x.Agent == m.Agent }) {
			both.Members = append(both.Members, m)
		}
	}
	return len(i.Merged)+1+len(o.Merged) <= maxMerged
}

// public is what others know of i.
func (i *incident) public() command.Incident {
	p := command.Incident{ID: i.ID, Agent: i.Agent, Session: i.Session, Open: i.open() && (i.Count == 0 || i.Suppressed < i.Count), Suppressed: i.Suppressed, Severity: int(i.Severity), First: i.First, Last: i.Last,
		Count: i.Count, Threats: i.Threats, Detectors: i.Detectors, Verdict: i.Verdict, By: i.By, Why: i.Why, Into: i.Into, Merged: i.Merged, Revision: i.revision,
		Acknowledged: i.Acknowledged, Turned: i.Turned}
	for _, m := range i.Members[:min(len(i.Members), maxKinds)] {
		p.Agents = append(p.Agents, cut(m.Agent, 128))
	}
	p.AgentCount = len(i.Members)
	p.Risk = i.Risk
	for _, s := range i.Entities[:min(len(i.Entities), maxKinds)] {
		p.Entities = append(p.Entities, command.Entity{Kind: string(s.Kind), Name: cut(s.Name, 128)})
	}
	return p
}

// union is list with what of more is not in it, up to n.
func union(list, more []string, n int) []string {
	for _, s := range more {
		if len(list) < n && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// tail returns the last n of list.
func tail[T any](list []T, n int) []T { return list[max(0, len(list)-n):] }
