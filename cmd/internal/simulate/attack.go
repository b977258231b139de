package simulate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A threat is one row of the threat table: how agents are attacked, and what that looks like.
type threat struct {
	name     string
	variants []string
	long     bool // goes on for days
	fits     func(a *agent, variant string) bool
	stage    func(k *attack, t int64) (next int64) // writes the stage that begins at t; 0: it was the last
}

// threats lists what the simulator knows. The order decides who is attacked by what, so new ones go last.
func threats() []threat {
	return []threat{
		{name: "privilege-drift", variants: []string{"first-use", "creep"}, long: true, fits: canDrift, stage: (*attack).drift},
		{name: "confused-deputy", variants: []string{"entitlement", "relayed"}, fits: canDeputise, stage: (*attack).deputise},
		{name: "indirect-prompt-injection", variants: []string{"send", "share", "money", "delete"}, fits: canInject, stage: (*attack).inject},
		{name: "memory-poisoning", variants: []string{"own", "shared"}, long: true, fits: canPoisonMemory, stage: (*attack).poisonMemory},
		{name: "tool-poisoning", variants: []string{"rug-pull", "shadowing"}, fits: anyone, stage: (*attack).poisonTool},
		{name: "exfiltration", variants: []string{"bulk", "split", "beacon"}, fits: canExfiltrate, stage: (*attack).exfiltrate},
		{name: "loop-amplification", variants: []string{"loop"}, fits: anyone, stage: (*attack).loop},
		{name: "unscoped-inheritance", variants: []string{"full-scopes"}, fits: canDelegate, stage: (*attack).inherit},
		{name: "credential-escalation", variants: []string{"foreign", "expired", "grown"}, fits: canEscalate, stage: (*attack).escalate},
		{name: "supply-chain", variants: []string{"model", "server", "build"}, fits: anyone, stage: (*attack).supply},
		{name: "telemetry-tampering", variants: []string{"gaps", "silent-results", "clock-skew"}, fits: anyone, stage: (*attack).tamper},
	}
}

// Threats returns the names of all threats that can be simulated.
func Threats() []string {
	var names []string
	for _, t := range threats() {
		names = append(names, t.name)
	}
	return names
}

func validThreats(names []string) error {
	known := Threats()
	for _, name := range names {
		if name != "all" && !slices.Contains(known, name) {
			return fmt.Errorf("threats: has %q, want all or some of %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// anyone is for threats that fit every agent at work.
func anyone(a *agent, _ string) bool { return a.used != 0 }

// An attack is one injection of a threat into one agent's work. It writes sessions of
// its own beside the agent's benign ones, acting as the agent does: on the same
// credential, with the same habits around the harm.
type attack struct {
	run     *run
	threat  *threat
	agent   *agent
	key     uint64
	chance  stream
	stages  int // begun so far
	victims []*agent
	record  record
	label   Label
	marks   []mark
}

// A mark is one malicious event.
type mark struct {
	at event.Timestamp
	id string
}

// arm plans the attacks.
func (r *run) arm(names []string, injections int) {
	r.attacks, r.taken = nil, make([]bool, len(r.agents))
	kinds := threats()
	if r.fleet.cfg.Evasive {
		kinds = evasions()
	}
	for _, t := range kinds {
		if !slices.Contains(names, t.name) && !slices.Contains(names, "all") {
			continue
		}
		for i := range injections {
			name := fmt.Sprintf("%s%s/%d", r.name, t.name, i+1)
			key := mix(r.fleet.cfg.Seed, nameKey(name))
			k := &attack{run: r, threat: &t, key: key, chance: streamOf(key, 18)}
			k.label = Label{Injection: name, Threat: t.name, Variant: t.variants[i%len(t.variants)]}
			r.plan(duty{strike, len(r.attacks)}, k.first())
			r.attacks = append(r.attacks, k)
		}
	}
}

// choose picks an agent whom the threat fits at time t: one that nobody attacks yet, and as likely
// as it is busy at that hour, so that the hour does not tell an attack. It is nil if there is none at all.
func (k *attack) choose(t int64) *agent {
	r := k.run
	n := len(r.agents)
	start := k.chance.below(n)
	for demands := 2; demands >= 0; demands-- {
		for i := range n {
			j := (start + i) % n
			a := r.agents[j]
			if demands > 0 && r.taken[j] || !k.threat.fits(a, k.label.Variant) || demands > 1 && r.pace == 0 && !k.busy(a, t) {
				continue
			}
			r.taken[j] = true
			return a
		}
	}
	return nil
}

// busy is true as often as the agent is busy at that hour.
func (k *attack) busy(a *agent, t int64) bool {
	return k.chance.below(10_000) < int(a.kit.hours.at(t+a.group.zone+int64(k.run.fleet.cfg.Clock)))
}

// first returns when the attack begins: some time after the clean history; in a live phase, soon.
func (k *attack) first() int64 {
	r := k.run
	if r.pace > 0 {
		span, parts := r.end-r.begin, [2]int64{4, 45}
		if k.threat.long {
			parts = [2]int64{1, 10}
		}
		return r.begin + k.chance.between(span*parts[0]/100, span*parts[1]/100)
	}
	from := r.begin + int64(r.fleet.cfg.attackFrom())
	span := k.limit() - from
	if k.threat.long {
		span = span * 2 / 5
	}
	return from + k.chance.between(0, max(span, 1))
}

// limit is when the last attack in a history begins.
func (k *attack) limit() int64 {
	return k.run.end - min(int64(time.Hour), int64(k.run.fleet.cfg.length())/20)
}

// atWork returns a time from lo to hi, as likely as the agent is busy then.
func (k *attack) atWork(lo, hi int64) int64 {
	const tries = 200
	t := lo
	for range tries {
		if t = k.chance.between(lo, hi); k.busy(k.agent, t) {
			break
		}
	}
	return t
}

// later returns when the next stage begins: so long after t in a history, or after so many hundredths of a live phase.
func (k *attack) later(t int64, least, most time.Duration, percents ...int64) int64 {
	if span := k.run.end - k.run.begin; k.run.pace > 0 {
		return t + k.chance.between(span*percents[0]/100, span*percents[1]/100)
	}
	room := max(k.limit()-t, int64(2*time.Minute)) // that is left for it
	return k.atWork(t+min(int64(least), room/2), t+min(int64(most), room))
}

// strike writes the next stage and plans the one after it.
func (r *run) strike(d duty, t int64) {
	k := r.attacks[d.index]
	if k.stages == 0 {
		if k.agent = k.choose(t); k.agent == nil {
			return
		}
		k.label.Agent = k.agent.id
	}
	next := k.threat.stage(k, t)
	k.stages++
	if next > 0 {
		r.plan(d, next)
		return
	}
	if len(k.marks) > 0 {
		r.fleet.labels = append(r.fleet.labels, k.tell())
	}
}

// tell returns the truth about the attack.
func (k *attack) tell() Label {
	slices.SortStableFunc(k.marks, func(a, b mark) int { return cmp.Compare(a.at, b.at) })
	l := k.label
	for _, m := range k.marks {
		l.Events = append(l.Events, m.id)
	}
	l.Start, l.End = k.marks[0].at.Time(), k.marks[len(k.marks)-1].at.Time()
	return l
}

// open begins a session of the agent a for the attack; the caller starts it.
func (k *attack) open(a *agent, t int64) *draft {
	key := mix(k.key, uint64(k.stages)|1<<50)
	d := k.run.open(a, t, key, streamOf(key, 11))
	d.attack = k
	k.enter(d)
	return d
}

// enter notes that the session belongs to the attack.
func (k *attack) enter(d *draft) {
	k.label.Session = strings.Clone(d.id)
	k.label.Sessions = append(k.label.Sessions, k.label.Session)
}

// mark notes that an event of the session is malicious.
func (k *attack) mark(d *draft, ev *event.Event) {
	k.marks = append(k.marks, mark{ev.Time, strings.Clone(ev.ID)})
	if id := d.agent.id; !slices.Contains(k.label.Agents, id) {
		k.label.Agents = append(k.label.Agents, id)
	}
}

// markAll marks the session's events of these names so far.
func (k *attack) markAll(d *draft, names ...event.Name) {
	for i := range d.s.events {
		if ev := &d.s.events[i]; slices.Contains(names, ev.Name) {
			k.mark(d, ev)
		}
	}
}

// person returns a principal of that level, the agent's most frequent one.
func (a *agent) person(level int) *principal {
	people := a.group.people
	start := int(a.key >> 40 & 0xff)
	for i := range people {
		if p := &people[(start+i)%len(people)]; p.level == level {
			return p
		}
	}
	return &people[start%len(people)]
}

// cover writes the benign beginning of a session: a message and n usual calls. Tools
// that unwanted names are left out, and so is what they do from what the user asks for.
func (d *draft) cover(n int, unwanted func(h *held) bool) {
	var room [16]*held
	chain := slices.DeleteFunc(d.choose(room[:0], n), func(h *held) bool { return unwanted != nil && unwanted(h) })
	d.ask(d.intents(chain))
	for _, h := range chain {
		d.use(h)
	}
}

// set makes an argument of a call come from elsewhere.
func set(ev *event.Event, name string, origin event.Origin, source string) {
	for i := range ev.ArgOrigins {
		if ev.ArgOrigins[i].Key == name {
			ev.ArgOrigins[i].Value = origin
		}
	}
	sources := slices.DeleteFunc(slices.Clone(ev.ArgSources), func(m event.Member[string]) bool { return m.Key == name })
	if source != "" {
		sources = append(sources, event.Member[string]{Key: name, Value: source})
	}
	ev.ArgSources = sources
}

// divert sends a call to the attacker's place, where nobody of the fleet went before.
func (k *attack) divert(d *draft, ev *event.Event, h *held) {
	if h.place == nowhere {
		return
	}
	ev.Destination = d.run.text.place(h.place, mix(k.key, 19))
	for i := range ev.ArgHashes {
		if ev.ArgHashes[i].Key == h.target {
			ev.ArgHashes[i].Value = []string{d.run.text.hex(mix(d.agent.group.key, nameKey(ev.Destination)))}
		}
	}
}
