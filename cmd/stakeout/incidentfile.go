package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/triage/command"
)

// sheet is what is printed of an incident, line by line.
type sheet struct{ strings.Builder }

func (s *sheet) line(format string, args ...any) {
	s.WriteString(printable(fmt.Sprintf(format, args...)) + "\n")
}

func printIncident(w io.Writer, f store.IncidentFile) error {
	var s sheet
	s.head(f.Incident)
	for _, d := range f.Findings {
		s.line("")
		s.finding(d)
	}
	if len(f.Actions) > 0 {
		s.line("")
	}
	for _, o := range f.Actions {
		s.line("%s  %s %s  %s  %s", when(o.Time), o.Action.Kind, o.Status, o.Action.ID, o.Detail)
	}
	s.line("")
	s.line("timeline")
	for _, m := range f.Timeline {
		s.line("%s  %-8s %s  %s", m.Time.Time().Format("2006-01-02 15:04:05.000"), m.What, m.Agent, m.Text)
	}
	_, err := io.WriteString(w, s.String())
	return err
}

// head tells whom an incident is about, and how it stands.
func (s *sheet) head(i command.Incident) {
	s.line("incident %s: %s, %s", i.ID, state(i), detect.Severity(i.Severity))
	s.line("agent %s, session %s, %s from %s to %s", i.Agent, i.Session, counted(int(i.Count), "finding"), when(i.First), when(i.Last))
	if i.Risk != nil {
		s.line("risk %.0f of 100 (%s) at %s", i.Risk.Score, i.Risk.Level, when(i.Risk.Time))
	}
	if i.AgentCount > 1 {
		more := ""
		if n := i.AgentCount - len(i.Agents); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		s.line("%d agents: %s%s", i.AgentCount, strings.Join(i.Agents, ", "), more)
	}
	for _, e := range i.Entities {
		s.line("about %s %s", e.Kind, e.Name)
	}
	if i.Into != "" {
		s.line("became part of incident %s: what comes later is there", i.Into)
	}
	for _, id := range i.Merged {
		s.line("incident %s became part of it", id)
	}
	if i.Acknowledged != 0 {
		s.line("acknowledged %s", when(i.Acknowledged))
	}
	if i.By != "" {
		s.line("decided by %s: %s", i.By, i.Why)
	}
}

// finding tells of one, and of the first look at it.
func (s *sheet) finding(d store.DisposedFinding) {
	s.line("%s  %s  %s", when(d.Finding.Time), d.Finding.Detector, d.Finding.Reason)
	s.line("  observed  %s", d.Finding.Observed)
	s.line("  baseline  %s", d.Finding.Baseline)
	for _, n := range d.Finding.Nearest {
		s.line("  nearest   %s", n)
	}
	if d.Finding.Normal != "" {
		s.line("  normal if %s", d.Finding.Normal)
	}
	if d.Disposition == nil {
		return
	}
	for _, l := range d.Disposition.Query {
		s.line("  query   %s", l)
	}
	for _, l := range d.Disposition.Think {
		s.line("  think   %s", l)
	}
	r := d.Disposition.Report
	s.line("  report  %s, confidence %s", r.Verdict, r.Confidence)
	for _, l := range r.Recommend {
		s.line("          %s", l)
	}
	for _, l := range r.Breaks {
		s.line("          would break %s", l)
	}
	if d.Draft != nil {
		s.line("  draft (by model %s, unverified): %s", d.Draft.Model, d.Draft.Text)
	}
}
