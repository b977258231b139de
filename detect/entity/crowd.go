package entity

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A visit is an agent that read a record.
type visit struct {
	agent uint32
	at    event.Timestamp
}

const (
	maxCrowd = 32 // agents that are told apart
	minCrowd = 4  // agents: fewer are no crowd
	enough   = 20 // records of a store, before one of them can stand out
)

// gather finds a memory record that suddenly many agents read, as hardly any
// record of its store is. The number of agents within a day has its p-value
// by its rank among the records of the store; beyond all of them the tail
// is exponential. It says nothing of a store that has fewer than twenty records.
func (e *Engine) gather(t *thing, f *detect.Fact, g *group) []detect.Finding {
	t.visit(f)
	u := g.unit(f.Store)
	if n := t.gathered(); u != nil && n > t.widest {
		if t.widest == 0 {
			u.records++
		} else {
			u.fanouts[t.widest]--
		}
		u.fanouts[n]++
		t.widest = n
	}
	j, on := e.joint[detect.RecordDetector]
	exposure := g.exposure(f)
	if u == nil || !on || t.spoken || !f.Known || t.widest < minCrowd || u.records <= enough || exposure == 0 {
		return nil
	}
	p, usual := u.rank(t.widest)
	// Each record is a test: so many of them are made in an agent-day.
	rate := p * float64(u.records) * e.partitions * float64(len(g.units)) / exposure
	if rate > j.share {
		return nil
	}
	t.spoken = true
	name := f.Store + "/" + f.Record
	return []detect.Finding{e.finding(claim{
		detector: detect.RecordDetector, threat: detect.MemoryPoisoning, severity: detect.Medium,
		asi: []string{"ASI06"}, atlas: []string{"AML.T0070"},
		about: []string{"read", f.Entity}, on: f, rate: rate,
		entities: []detect.Entity{{Kind: detect.MemoryEntity, Name: name}},
		reason:   fmt.Sprintf("memory record %s is suddenly read by many agents", name),
		observed: fmt.Sprintf("%d agents within a day, the last of them %s", t.widest, f.Agent),
		baseline: fmt.Sprintf("of %d other records of the store the most read had %d agents within a day", u.records-1, usual),
	})}
}

// visit notes that an agent read the record.
func (t *thing) visit(f *detect.Fact) {
	t.crowd = append(t.crowd, visit{person("agent", f.Agent), f.Time})
	slices.SortFunc(t.crowd, func(a, b visit) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.agent, b.agent)) })
	t.crowd = slices.Compact(t.crowd)
	if len(t.crowd) > maxCrowd {
		t.crowd = t.crowd[1:]
	}
}

// gathered is the largest number of agents that read the record within a day.
func (t *thing) gathered() int {
	most := 0
	for i, last := range t.crowd {
		var who []uint32
		for _, v := range t.crowd[:i+1] {
			if last.at.Sub(v.at) <= 24*time.Hour && !slices.Contains(who, v.agent) {
				who = append(who, v.agent)
			}
		}
		most = max(most, len(who))
	}
	return most
}

// rank is the p-value of a record that n agents read within a day, among the
// others of its store, and the most that read one of those.
func (u *unit) rank(n int) (p float64, usual int) {
	others, as, excess := -1, -1, 0 // not counting the record itself
	for k, records := range u.fanouts {
		if k == n {
			excess -= k - 1
			usual = max(usual, min(k, k*(records-1)))
		} else if records > 0 {
			usual = max(usual, k)
		}
		others += records
		excess += records * max(k-1, 0)
		if k >= n {
			as += records
		}
	}
	p = float64(as+1) / float64(others+1)
	if n <= usual {
		return p, usual
	}
	// Beyond the largest: its own rank, and exponentially less from there, with the
	// mean that the records have or that the largest of them asks for.
	mean := max(float64(excess+1)/float64(others+1), float64(usual)/math.Log(float64(others+1)))
	return 1 / float64(others+1) * math.Exp(-float64(n-usual)/mean), usual
}
