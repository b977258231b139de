package backtest

import (
	"cmp"
	"math"
	"strings"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// Stratum is a part of the fleet's time: that of one peer group, or that in which
// agents were known so well.
type Stratum struct {
	AgentDays float64 `json:"agent_days"`
	Findings  int     `json:"findings"`
	False     int     `json:"false_findings"`
	Budgeted  float64 `json:"budgeted"` // false findings: the budget for so many agent-days
	Realised  float64 `json:"realised_over_budget"`
	Interval          // of the ratio, of 95 %
	Risked    float64 `json:"risked"` // false findings that the detectors foretold; see [detect.Stats]

	Folds map[string]Fold `json:"folds,omitempty"` // of a peer group: how its attacks stand out from its own benign sessions
}

// maturities are the strata by how many events of an agent are known, from the
// given number on.
var maturities = []struct {
	from int64
	name string
}{{0, "0-31"}, {32, "32-255"}, {256, "256-2047"}, {2048, "2048+"}}

// agent is what is kept of one agent.
type agent struct {
	first, last  event.Timestamp
	events       int64
	role, tenant string
	days, risked [4]float64 // by maturity
}

func newAgent(ev *event.Event) *agent { return &agent{first: ev.Time, last: ev.Time} }

func (a *agent) group() string { return groupName(a.role, a.tenant) }

// groupName names a peer group: the role, and the tenant if there is one.
func groupName(role, tenant string) string {
	name := cmp.Or(role, "(no role)")
	if tenant != "" {
		name += "/" + tenant
	}
	return name
}

// take lets an event be known of the agent. The time since the one before, and what
// was risked for it, counts for what the agent was then.
func (a *agent) take(ev *event.Event, risked float64) {
	if ev.Time > a.last {
		a.days[a.maturity()] += ev.Time.Sub(a.last).Hours() / 24
	}
	a.risked[a.maturity()] += risked
	a.first, a.last = min(a.first, ev.Time), max(a.last, ev.Time)
	a.events++
	if ev.Role != "" && ev.Role != a.role {
		a.role = strings.Clone(ev.Role)
	}
	if ev.Tenant != "" && ev.Tenant != a.tenant {
		a.tenant = strings.Clone(ev.Tenant)
	}
}

// maturity is the stratum of an agent.
func (a *agent) maturity() int {
	i := len(maturities) - 1
	for a.events < maturities[i].from {
		i--
	}
	return i
}

// strata splits the time and the findings by peer group and by maturity. Wrong
// says which findings are false.
func (r *run) strata(budget float64, wrong func(finding) bool) (groups, maturity map[string]Stratum) {
	groups, maturity = map[string]Stratum{}, map[string]Stratum{}
	add := func(to map[string]Stratum, name string, more Stratum) {
		s := to[name]
		s.AgentDays += more.AgentDays
		s.Risked += more.Risked
		s.Findings += more.Findings
		s.False += more.False
		to[name] = s
	}
	for _, m := range maturities {
		add(maturity, m.name, Stratum{})
	}
	for _, a := range r.agents {
		add(groups, a.group(), Stratum{AgentDays: a.last.Sub(a.first).Hours() / 24})
		for i, m := range maturities {
			add(groups, a.group(), Stratum{Risked: a.risked[i]})
			add(maturity, m.name, Stratum{AgentDays: a.days[i], Risked: a.risked[i]})
		}
	}
	for _, f := range r.found {
		found := Stratum{Findings: 1}
		if wrong(f) {
			found.False = 1
		}
		add(groups, f.group, found)
		add(maturity, maturities[f.maturity].name, found)
	}
	for _, strata := range []map[string]Stratum{groups, maturity} {
		for name, s := range strata {
			s.Budgeted = budget * s.AgentDays
			s.Realised = float64(s.False) / math.Max(s.Budgeted, 1e-9)
			s.Interval = intervalOf(s.False, s.Budgeted)
			strata[name] = s
		}
	}
	return groups, maturity
}
