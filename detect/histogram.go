package detect

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/stat/distuv"
)

const (
	cells    = 13       // privileges told apart; all others share one more cell
	longRun  = 2000     // uses that the long histogram remembers
	dispGain = 1.0 / 16 // weight of the newest value in the running dispersion

	shortMemory = 50 // one over the weight of the newest use in the short histogram
	shortRun    = 49 // independent uses that it is worth: half of the 2 shortMemory - 1 that are effective

	unknownDispersion = 1 // until the agent has shown its own
)

// A Histogram is the distribution of the privileges an agent exercises, twice:
// over its last two thousand uses, and over its last hundred.
type Histogram struct {
	uses       uint32 // learned into the long histogram
	seen       uint32 // all
	dispersion dispersion
	creep      float32 // evidence that privileges of high impact are used more; see mount
	last       uint8   // cell that was used last, counted from 1; 0: none
	cell       [cells + 1]cell
}

type cell struct {
	id    uint32 // fingerprint of the privilege
	long  float32
	short share16
	grave bool // it was used to an effect of high impact
	name  label
}

// A share16 is a share in units of 1/65535. What is less than 1/2600 of the last
// hundred uses does not fade to nothing; such shares are not looked at.
type share16 uint16

const wholeShare = math.MaxUint16

func (s share16) of() float64 { return float64(s) / wholeShare }

// learn takes one more use in, which the share is of or not.
func (s share16) learn(used bool) share16 {
	const half = shortMemory / 2
	if used {
		return s + share16((wholeShare-uint32(s)+half)/shortMemory)
	}
	return s - share16((uint32(s)+half)/shortMemory)
}

func (c *cell) label() string {
	if c.id == 0 {
		return "others"
	}
	return c.name.String()
}

// at returns the cell of a privilege: its own, a free one, or the shared last one.
func (h *Histogram) at(privilege string) *cell {
	id := fingerprint(hash(privilege))
	for i := range cells {
		c := &h.cell[i]
		if c.id == id {
			return c
		}
		if c.id == 0 {
			c.id = id
			c.name.set(privilege)
			return c
		}
	}
	return &h.cell[cells]
}

// learn takes one use. The short histogram follows always; the long one, which
// is the baseline, only where the use is not suspect. A first use that was reported
// is no evidence of creep besides, or one act would be found twice.
func (h *Histogram) learn(privilege string, grave, suspect, reported bool) {
	used := h.at(privilege)
	used.grave = used.grave || grave && used.id != 0
	h.seen++
	if h.seen > 2*shortRun && !reported {
		h.mount(used)
	}
	if !suspect {
		h.uses++
	}
	gain := float32(1) / float32(min(max(h.uses, 1), longRun))
	for i := range h.cell {
		c := &h.cell[i]
		var one float32
		if c == used {
			one, h.last = 1, uint8(i+1)
		}
		if !suspect {
			c.long += float32(gain * (one - c.long))
		}
		switch {
		case h.seen > 1:
			c.short = c.short.learn(c == used)
		case c == used:
			c.short = wholeShare
		}
	}
}

// A divergence is a likelihood-ratio statistic of the short histogram against the long one,
//
//	G = 2 n sum_i q_i ln((q_i + e) / (p_i + e)),  n = 49, e = 1/2n
//
// with one degree of freedom less than there are cells in use. For independent
// uses it is asymptotically chi-square (Wilks 1938).
type divergence struct {
	g  float64
	df int
}

// smooth is e in a divergence.
const smooth = 1.0 / (2 * shortRun)

func (d *divergence) add(p, q float64) {
	if p < smooth/4 && q < smooth/4 {
		return
	}
	d.df++
	d.g += float64(2 * shortRun * float64(q*math.Log((q+smooth)/(p+smooth))))
}

// done closes the sum.
func (d divergence) done() divergence { return divergence{math.Max(d.g, 0), max(d.df-1, 1)} }

// shift is the divergence of the whole distribution.
func (h *Histogram) shift() divergence {
	var d divergence
	for i := range h.cell {
		d.add(float64(h.cell[i].long), h.cell[i].short.of())
	}
	return d.done()
}

// turn is the share of uses that creep supposes an agent to make of privileges
// of high impact beside its own habits.
const turn = 0.3

// goesOn is the share of uses that exercise the privilege of the one before because
// that goes on.
const goesOn = 0.3

// mount lets creep take in one use. Creep is the logarithm of an e-detector
// (Shin, Ramdas & Rinaldo 2022): of the likelihood that three in ten uses are
// now of privileges of high impact, evenly, against that of the habits, summed
// from the moment that makes it largest (CUSUM). A use that repeats the one before says
// less: three in ten do by going on, whichever privilege it is. While the habits last
// it passes s at most once in exp(s) uses on average.
func (h *Histogram) mount(used *cell) {
	grave := 0
	for i := range h.cell {
		if h.cell[i].grave {
			grave++
		}
	}
	if grave == 0 {
		return
	}
	n := float64(min(h.uses, longRun))
	p := (float64(n*float64(used.long)) + 0.5) / (n + 0.5*float64(cells+1))
	q := float64((1 - turn) * p)
	if used.grave {
		q += turn / float64(grave)
	}
	if h.last != 0 && used == &h.cell[h.last-1] {
		p, q = goesOn+float64((1-goesOn)*p), goesOn+float64((1-goesOn)*q)
	}
	h.creep = float32(math.Max(float64(h.creep)+math.Log(q/p), 0))
}

// creepSlack is how many times as often creep may pass a height, by its bound, as it
// does: simulated agents without attacks came below p-values from 1/100 to 1/10,000 by so
// much less often than the bound has it.
const creepSlack = 50

// creepPart is the part of a p-value that creep has of tail, and shift the rest: creep comes
// as often as it says, shift seldomer, because privileges that are hardly used count as degrees of freedom.
const creepPart = 0.75

// tail is the p-value of shift and creep together, by Bonferroni in unequal parts. Creep is
// looked at once in 32 uses, and may pass a height in any of them.
func (h *Histogram) tail() float64 {
	creep := float64(evaluateEvery) / creepSlack * math.Exp(-float64(h.creep)/h.dispersion.inflation())
	return math.Min(1, math.Min(h.dispersion.tail(h.shift())/(1-creepPart), creep/creepPart))
}

// A dispersion is the running mean of a divergence per degree of freedom, as an
// agent's habits make it; zero until it has shown any.
type dispersion float32

// tail is the p-value of a divergence. Uses come in runs, a session at a time,
// so it is scaled by the dispersion shown so far (the first-order correction of
// Rao & Scott 1984), never below one.
func (s dispersion) tail(d divergence) float64 {
	return distuv.ChiSquared{K: float64(d.df)}.Survival(d.g / s.scale())
}

// inflation is how many times more the counts of dependent uses vary than those
// of independent ones.
func (s dispersion) inflation() float64 { return s.scale() / independent }

// independent is the dispersion of independent uses: a half, because divergences are taken for half as
// many uses as the short histogram is worth.
const independent = 0.5

// scale is what evidence from dependent uses is divided by.
func (s dispersion) scale() float64 {
	if s == 0 {
		s = unknownDispersion
	}
	return math.Max(float64(s), independent)
}

// learn takes in how far the habits diverged of themselves. Values are clipped
// at four times what is known, so that an attack cannot buy itself room at once.
func (s *dispersion) learn(d divergence) {
	if *s == 0 {
		*s = unknownDispersion
	}
	x := math.Min(d.g/float64(d.df), 4*float64(*s))
	*s += dispersion(float32(float64(dispGain * (x - float64(*s)))))
}

// due reports whether it is time to look at the distribution: once in 32 uses,
// from the time that the short histogram is full.
func (h *Histogram) due() bool { return h.seen >= 2*shortRun && h.seen%evaluateEvery == 0 }

// risen returns the cell that contributes most to the divergence.
func (h *Histogram) risen() *cell {
	most := &h.cell[0]
	for i := range h.cell {
		if c := &h.cell[i]; c.short.of()-float64(c.long) > most.short.of()-float64(most.long) {
			most = c
		}
	}
	return most
}

// used counts the cells with a privilege.
func (h *Histogram) used() int {
	n := 0
	for i := range cells {
		if h.cell[i].id != 0 {
			n++
		}
	}
	return n
}

// describe names the three most usual privileges with their shares.
func (h *Histogram) describe() string {
	var top [3]*cell
	for i := range h.cell {
		c := &h.cell[i]
		for j := range top {
			if top[j] == nil || c.long > top[j].long {
				c, top[j] = top[j], c
			}
			if c == nil {
				break
			}
		}
	}
	var b strings.Builder
	for _, c := range top {
		if c == nil || c.long == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %.0f%%", c.label(), 100*c.long)
	}
	return b.String()
}

// nearest names up to three usual privileges that are most like one: of the same
// kind of resource, then with the same verb, then the most usual.
func (h *Histogram) nearest(privilege string) []string {
	resource, verb, _ := strings.Cut(privilege, ":")
	var near []*cell
	for i := range cells {
		if c := &h.cell[i]; c.id != 0 && c.long > 0 && c.label() != privilege {
			near = append(near, c)
		}
	}
	likeness := func(c *cell) (n int) {
		r, v, _ := strings.Cut(c.label(), ":")
		if r == resource {
			n += 2
		}
		if v == verb {
			n++
		}
		return n
	}
	slices.SortStableFunc(near, func(a, b *cell) int {
		return cmp.Or(cmp.Compare(likeness(b), likeness(a)), cmp.Compare(b.long, a.long))
	})
	var names []string
	for _, c := range near[:min(3, len(near))] {
		names = append(names, fmt.Sprintf("%s, %.1f%% of %d uses", c.label(), 100*c.long, min(h.uses, longRun)))
	}
	return names
}
