package detect

import "github.com/stakeout-project/stakeout/ingest/event"

// hours are at which hours of the day (of UTC) something leaves an agent: on so many days of late
// in each.
type hours [24]uint8

const (
	hoursMost = 255 // days in an hour from which on all are halved
	hourPrior = 1   // days in each hour that are believed before any is seen
)

// chance is the chance that an hour in which something leaves is this one.
func (h *hours) chance(at event.Timestamp) float64 {
	all := 0
	for _, n := range h {
		all += int(n)
	}
	return (float64(h[hourOf(at)%24]) + hourPrior) / float64(all+hourPrior*len(h))
}

// weight is what an outflow weighs for its hour. Half of the weight goes to all of them, the other half
// to the hours by equal parts, however seldom they are: so the mean is one, and the chance of an odd call
// stays what it is, as for [rareWeight].
func (h *hours) weight(at event.Timestamp) float64 {
	return 0.5 + 0.5/(float64(len(h))*h.chance(at))
}

// learn takes in the first outflow of an hour: how many there are in it is another question.
func (h *hours) learn(at event.Timestamp) {
	i := hourOf(at) % 24
	if h[i] == hoursMost {
		for j := range h {
			h[j] /= 2
		}
	}
	h[i]++
}

func (h *hours) code(c *coder) {
	for i := range h {
		c.octet(&h[i])
	}
}
