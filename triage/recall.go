package triage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// recalled is what was stored about the past of a finding, or why that is not known.
type recalled struct {
	past command.Past
	why  string
}

func notAsked(why string) *recalled { return &recalled{why: why} }

// queried is what was asked of what is stored, and what it said.
func (r *recalled) queried(f *detect.Finding, window time.Duration) []string {
	if r == nil {
		return nil
	}
	if r.why != "" {
		return []string{"What is stored is not known: " + r.why + "."}
	}
	p, days := r.past, fmt.Sprintf("%.0f days", window.Hours()/24)
	q := []string{
		fmt.Sprintf("What was found of %s before? %s; verdicts: %s.", f.Agent, tallies(p.Findings, "nothing"), tallies(p.Verdicts, "none")),
		"What are the events it rests on? " + rests(p.Rests, len(f.Evidence)) + ".",
		fmt.Sprintf("What did it do in the ten minutes before? %s, %d failed; tools: %s.", count(int(p.Around.Events), "event"), p.Around.Failed, cmp.Or(strings.Join(p.Around.Tools, ", "), "none")),
	}
	if f.Role != "" && (f.Did.Tool != "" || f.Did.Privilege != "") {
		q = append(q, fmt.Sprintf("Do its peers do it? %s: %d of %s of role %s in the %s before, %s.", did(f), p.Alike, count(int(p.Peers), "other agent"), f.Role, days, count(int(p.Likened), "time")))
	}
	if f.Did.Destination != "" {
		met := "nobody contacted it"
		if p.Met != 0 {
			met = fmt.Sprintf("first contact %s, %s by %s", p.Met.Time().Format(time.RFC3339), count(int(p.MetContact), "contact"), count(int(p.MetAgents), "agent"))
		}
		q = append(q, fmt.Sprintf("Is destination %s known? In the %s before: %s.", f.Did.Destination, days, met))
	}
	return q
}

// fewPeers is how many agents of a role say little about what is usual in it.
const fewPeers = 4

// weighed is what the past says for and against a harmless explanation.
func (r *recalled) weighed(f *detect.Finding) (lines []string) {
	if r == nil || r.why != "" {
		return nil
	}
	p := r.past
	acted := f.Role != "" && (f.Did.Tool != "" || f.Did.Privilege != "")
	switch {
	case acted && p.Alike > 0 && p.Alike >= p.Peers/2:
		lines = append(lines, "For a harmless explanation: it is usual among its peers.")
	case acted && p.Alike == 0 && p.Peers >= fewPeers:
		lines = append(lines, fmt.Sprintf("Against a harmless explanation: none of %d peers does it.", p.Peers))
	}
	if f.Did.Destination != "" && p.Met == 0 {
		lines = append(lines, "Against a harmless explanation: nobody was in contact with the destination before.")
	}
	for _, v := range p.Verdicts {
		switch command.Verdict(v.Name) {
		case truePositive:
			lines = append(lines, "Against a harmless explanation: an attack on this agent was confirmed before.")
		case falsePositive:
			lines = append(lines, "For a harmless explanation: a person has called findings about this agent false before.")
		}
	}
	return lines
}

// did names what the event judged did.
func did(f *detect.Finding) string {
	var parts []string
	if f.Did.Tool != "" {
		parts = append(parts, "to call "+f.Did.Tool)
	}
	if f.Did.Privilege != "" {
		parts = append(parts, "to exercise "+f.Did.Privilege)
	}
	return strings.Join(parts, " and ")
}

func tallies(all []command.Tally, none string) string {
	if len(all) == 0 {
		return none
	}
	var parts []string
	for _, t := range all {
		parts = append(parts, fmt.Sprintf("%d by %s", t.Count, cut(t.Name, 64)))
	}
	return strings.Join(parts, ", ")
}

func rests(all []command.Stored, of int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d stored so far", len(all), of)
	for _, e := range slices.Backward(all) { // oldest first
		fmt.Fprintf(&b, "; %s %s", event.Timestamp(e.Time).Time().Format(time.RFC3339), e.Name)
		for _, part := range []string{e.Tool, e.Effect, e.Destination} {
			if part != "" {
				b.WriteString(" " + cut(part, 64))
			}
		}
	}
	return b.String()
}
