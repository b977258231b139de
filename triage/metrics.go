package triage

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// metrics are what triage tells Prometheus. Dwell time, the time from an event
// to something being done about it, is the figure the whole project is judged by.
type metrics struct {
	findings  *prometheus.CounterVec // result
	incidents prometheus.Counter     // opened
	merged    prometheus.Counter     // into another one

	suppressed prometheus.Counter // findings

	actions   *prometheus.CounterVec   // kind, mode, status
	answers   *prometheus.CounterVec   // result
	approvals *prometheus.CounterVec   // result
	retries   prometheus.Counter       // commands sent again
	folded    prometheus.Counter       // pages that became part of a later one
	dwell     *prometheus.HistogramVec // until

	risk        prometheus.Histogram   // score of an agent when a finding about it came
	riskChanges *prometheus.CounterVec // level
	brakes      *prometheus.CounterVec // change
	drafts      *prometheus.CounterVec // result
	verdicts    *prometheus.CounterVec // verdict
	histories   *prometheus.CounterVec // result
}

func newMetrics(reg prometheus.Registerer, oldest func() time.Duration) *metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "stakeout", Subsystem: "triage", Name: name, Help: help}
	}
	m := &metrics{
		findings:   prometheus.NewCounterVec(counter("findings_total", "Findings read, by what came of them: new, again, canary, refused."), []string{"result"}),
		incidents:  prometheus.NewCounter(counter("incidents_total", "Incidents opened.")),
		suppressed: prometheus.NewCounter(counter("findings_suppressed_total", "Findings that nothing was done about, because a person had given a verdict on ones like them.")),
		merged:     prometheus.NewCounter(counter("incidents_merged_total", "Incidents that became part of another one.")),
		actions:    prometheus.NewCounterVec(counter("actions_total", "Status changes of actions."), []string{"kind", "mode", "status"}),
		answers:    prometheus.NewCounterVec(counter("answers_total", "Answers of executors: taken, late, duplicate, contradicting, unknown, refused."), []string{"result"}),
		approvals:  prometheus.NewCounterVec(counter("approvals_total", "Decisions of operators: approved, counted, rejected, undone, nothing to undo, unsuppress, close, reopen, merged, duplicate, late, not entitled, unknown, refused."), []string{"result"}),
		retries:    prometheus.NewCounter(counter("retries_total", "Commands sent again because nobody answered.")),
		folded:     prometheus.NewCounter(counter("pages_folded_total", "Pages beyond the budget, folded into a later one.")),
		dwell: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "stakeout", Subsystem: "triage", Name: "dwell_seconds",
			Help:    "Time from the event to its being ingested and found, and to the action being commanded and verified.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600},
		}, []string{"until"}),
	}
	m.risk = prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "stakeout", Subsystem: "triage", Name: "risk_score",
		Help: "Risk of an agent, of 100, when a finding about it came.", Buckets: []float64{10, 20, 30, 40, 50, 60, 70, 80, 90}})
	m.riskChanges = prometheus.NewCounterVec(counter("risk_changes_total", "Agents whose risk came to another level, by that level."), []string{"level"})
	for _, l := range []command.RiskLevel{command.RiskLow, command.RiskMedium, command.RiskHigh} {
		m.riskChanges.WithLabelValues(string(l))
	}
	m.brakes = prometheus.NewCounterVec(counter("brakes_total", "Changes of brakes: tripped, pulled, released."), []string{"change"})
	for _, c := range []string{"tripped", "pulled", "released"} {
		m.brakes.WithLabelValues(c)
	}
	m.drafts = prometheus.NewCounterVec(counter("drafts_total", "Drafts that a model was to write: told, skipped, timeout, failed, nonsense."), []string{"result"})
	for _, r := range []string{"told", "skipped", "timeout", "failed", "nonsense"} {
		m.drafts.WithLabelValues(r)
	}
	m.verdicts = prometheus.NewCounterVec(counter("verdicts_total", "Verdicts on an agent's findings that were handed to detection: false_positive, true_positive, withdrawn."), []string{"verdict"})
	for _, v := range []string{string(falsePositive), string(truePositive), "withdrawn"} {
		m.verdicts.WithLabelValues(v)
	}
	m.histories = prometheus.NewCounterVec(counter("histories_total", "Findings whose past the store was to tell, by what came of it: answered, failed, broken (not asked after failures), skipped (too many at once)."), []string{"result"})
	for _, r := range []string{"answered", "failed", "broken", "skipped"} {
		m.histories.WithLabelValues(r)
	}
	reg.MustRegister(m.risk, m.riskChanges, m.brakes, m.drafts, m.verdicts, m.histories)
	for _, r := range []string{"new", "again", "canary", "refused"} {
		m.findings.WithLabelValues(r)
	}
	for _, r := range []string{"taken", "late", "duplicate", "contradicting", "unknown", "refused"} {
		m.answers.WithLabelValues(r)
	}
	for _, r := range []string{"approved", "counted", "rejected", "undone", "close", "reopen", "duplicate", "late", "not entitled", "unknown", "refused"} {
		m.approvals.WithLabelValues(r)
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "stakeout", Subsystem: "triage", Name: "oldest_waiting_seconds",
		Help: "Age of the oldest action that waits for an answer or an approval.",
	}, func() float64 { return oldest().Seconds() })
	reg.MustRegister(m.findings, m.incidents, m.merged, m.suppressed, m.actions, m.answers, m.approvals, m.retries, m.folded, m.dwell, age)
	return m
}

// opened observes how long it took until the first event of an incident was
// taken in and judged.
func (m *metrics) opened(i *incident) {
	for until, at := range map[string]event.Timestamp{"ingested": i.Ingested, "found": i.Found} {
		if at != 0 {
			m.dwell.WithLabelValues(until).Observe(at.Sub(i.First).Seconds())
		}
	}
}

// moved counts a status change.
func (m *metrics) moved(a command.Action, s command.Status, now time.Time) {
	m.actions.WithLabelValues(string(a.Kind), string(a.Mode), string(s)).Inc()
	if a.Kind != command.Canary && (s == command.Commanded || s == command.Verified) {
		m.dwell.WithLabelValues(string(s)).Observe(now.Sub(a.Occurred.Time()).Seconds())
	}
}
