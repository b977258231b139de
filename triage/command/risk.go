package command

import (
	"math"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Risk ranks an agent by what was found of it lately. It alerts nobody: the
// budget of false findings belongs to the findings.
type Risk struct {
	Score    float64         `json:"score"` // 0 to 100, at Time
	Level    RiskLevel       `json:"level"`
	Previous RiskLevel       `json:"previous,omitempty"` // where the level has just changed
	Time     event.Timestamp `json:"time"`
}

// RiskLevel is a level of risk, by the three names that CAEP has.
type RiskLevel string

// The levels, mildest first.
const (
	RiskLow    RiskLevel = "low"
	RiskMedium RiskLevel = "medium"
	RiskHigh   RiskLevel = "high"
)

// RiskHalfLife is how long it takes until what was found counts half.
const RiskHalfLife = 3 * 24 * time.Hour

// riskScale is the sum of contributions at which a score is 63 of 100.
const riskScale = 30

// RiskScore turns a sum of contributions into a score of 0 to 100.
func RiskScore(sum float64) float64 { return 100 * -math.Expm1(-max(sum, 0)/riskScale) }

// RiskSum is the sum that has the score; infinite for 100 and more.
func RiskSum(score float64) float64 { return -riskScale * math.Log1p(-min(max(score, 0), 100)/100) }

// At returns the score at a later time if nothing more is found. That an agent
// has passed fewer stages of an attack by then is left out, so it may be less.
func (r Risk) At(now event.Timestamp) float64 {
	if r.Score <= 0 || now <= r.Time {
		return r.Score
	}
	return RiskScore(RiskSum(min(r.Score, 99.999999)) * math.Exp2(-float64(now.Sub(r.Time))/float64(RiskHalfLife)))
}
