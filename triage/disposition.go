package triage

import (
	"fmt"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

// dispose takes the first look at a finding. It is a function of the finding, of its
// incident, of the policy, and of what is stored about the past. The last may be away, and
// is nil where it is not asked: so nothing can keep the look from being taken.
func dispose(p *Policy, i *incident, f *detect.Finding, own *risk, past *recalled, window time.Duration) *command.Disposition {
	return &command.Disposition{Finding: f.ID, Suppression: i.suppression(f), Detector: cut(f.Detector, maxID), Query: append(asked(i, f), bound(past.queried(f, window))...), Think: append(thought(i, f), past.weighed(f)...), Report: reported(p, i, f, own), Risk: new(own.score(p.Risk, f.Time))}
}

// asked is what the detector asked of the agent's past, and what the incident knows besides.
func asked(i *incident, f *detect.Finding) []string {
	normal := fmt.Sprintf("Is this normal for %s? Asked by %s of the agent's profile: p-value %.3g, where the budget reports below %.3g.", f.Agent, f.Detector, f.PValue, f.Level)
	if certain(f) {
		normal = fmt.Sprintf("May %s act? Asked by %s of the stops that were verified: no, since action %s.", f.Agent, f.Detector, f.Rules)
	}
	if ruled(f) {
		normal = fmt.Sprintf("Is this allowed for %s? Asked by %s of the rules in force: no, by rules %s.", f.Agent, f.Detector, f.Rules)
	}
	q := []string{
		normal,
		fmt.Sprintf("What does it rest on? %s.", count(len(f.Evidence), "event")),
		fmt.Sprintf("What else belongs to it? %s so far, by %s.", count(int(i.Count), "finding"), list(i.Detectors)),
	}
	for _, e := range entitiesOf(f) {
		if by := i.bringer(e); by != "" && by != f.Agent {
			q = append(q, fmt.Sprintf("Why does it belong to it? It shares %s %s with %s; %s so far.", e.Kind, e.Name, by, count(len(i.Members), "agent")))
		}
	}
	who := "no user is named"
	if f.User != "" {
		who = "on behalf of " + f.User
	}
	if c := f.Credential; c.ID != "" {
		who += ", with credential " + c.ID
	} else {
		who += ", with a credential that the log does not name"
	}
	return bound(append(q, "Who acted? "+f.Agent+" "+who+"."))
}

// thought sets the observation against the baseline, and names what else could explain it.
func thought(i *incident, f *detect.Finding) []string {
	t := []string{"Observed: " + orUnknown(f.Observed), "Baseline: " + orUnknown(f.Baseline)}
	switch f.Threat {
	case detect.PrivilegeDrift:
		t = append(t, "It could be a new duty: then its owner knows of a change of the agent's charter or build.",
			"It could be a rare one: then the same privilege is used by agents of the same role.")
	case detect.ConfusedDeputy:
		t = append(t, "It could be a principal whose entitlements the log does not tell completely: then the issuer knows them.")
	case detect.PromptInjection:
		t = append(t, "It could be what the user wanted and said elsewhere: then the user knows of it.")
	case detect.MemoryPoisoning:
		t = append(t, "The record could hold what its agent was meant to remember: then whoever wrote it knows it.")
	}
	if certain(f) {
		t = append(t, "It could be a gateway that the agent does not go through, a token that is accepted without being looked up, or one that was issued anew.",
			"It could be the agent's clock: then its events say that they are later than they are.")
	}
	if len(i.Detectors) > 1 {
		t = append(t, fmt.Sprintf("Against a harmless explanation: %d independent detectors agree.", len(i.Detectors)))
	}
	return bound(t)
}

func reported(p *Policy, i *incident, f *detect.Finding, own *risk) command.Report {
	r := command.Report{Verdict: "suspicious", Confidence: confidence(i, f)}
	if !certain(f) && !ruled(f) && (f.PValue <= 0 || f.Level <= 0 || f.Observed == "") {
		r.Verdict = "insufficient_data"
	}
	if id := i.suppression(f); id != "" {
		r.Recommend = []string{"Nothing is done about it: suppression " + id + " holds for " + f.Detector + " about this agent."}
		return r
	}
	entry, ok := p.match(f)
	if !ok {
		r.Recommend = []string{"No policy answers it: look whether it needs one."}
		return r
	}
	ladder := entry.Ladder[entry.rung(own.score(p.Risk, f.Time).Score, own, f):]
	for n, s := range append(ladder[:1:1], entry.Also...) {
		text := fmt.Sprintf("%s by policy %s, %s", s.Kind, entry.Name, s.Mode)
		if s.Lease > 0 {
			text += fmt.Sprintf(", undone after %s", s.Lease)
		}
		r.Recommend = append(r.Recommend, text)
		if n == 0 && len(ladder) > 1 {
			r.Recommend = append(r.Recommend, fmt.Sprintf("%s where that does not hold", ladder[1].Kind))
		}
		if b := breaks(s.Kind, f); b != "" {
			r.Breaks = append(r.Breaks, b)
		}
	}
	r.Recommend, r.Breaks = bound(r.Recommend), bound(r.Breaks)
	return r
}

// confidence rests on how far below its threshold the p-value lies, and on how
// many detectors agree.
func confidence(i *incident, f *detect.Finding) string {
	levels := []string{"low", "medium", "high"}
	n := 0
	switch {
	case certain(f), ruled(f):
		n = 2
	case f.Level <= 0 || f.PValue <= 0:
	case f.PValue < f.Level/100:
		n = 2
	case f.PValue < f.Level/5:
		n = 1
	}
	if len(i.Detectors) > 1 {
		n++
	}
	return levels[min(n, 2)]
}

// breaks is what an action of kind k would break.
func breaks(k command.Kind, f *detect.Finding) string {
	switch k {
	case command.RevokeToken:
		if f.Credential.ID == "" {
			return "nothing: the finding names no credential"
		}
		return fmt.Sprintf("every session that works with credential %s; it has no undo, the agent needs a new token", f.Credential.ID)
	case command.Suspend:
		return "everything that " + f.Agent + " does behind a gateway"
	case command.Restrict:
		return "everything that " + f.Agent + " changes behind a gateway; it goes on reading"
	case command.Signal:
		return "the sessions of " + f.Agent + " at whoever subscribes to shared signals"
	}
	return ""
}

// certain reports whether f rests on what was verified, and not on what is likely.
func certain(f *detect.Finding) bool { return f.Detector == BreachDetector }

// ruled reports whether f says that a declared rule was broken: chance has no part in it.
func ruled(f *detect.Finding) bool {
	return f.Detector == detect.SupplyChain{}.About().Name && f.PValue == 0 && f.Level == 0 && f.Observed != ""
}

func orUnknown(s string) string {
	if s == "" {
		return "not told"
	}
	return s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func list(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// bound keeps what names fill in from growing beyond a message.
func bound(lines []string) []string {
	const most = 600
	for n, l := range lines {
		lines[n] = cut(l, most)
	}
	return lines
}
