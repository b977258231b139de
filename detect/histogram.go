package detect

import (
	"fmt"
	"math"
	"strings"

	"gonum.org/v1/gonum/stat/distuv"
)

const (
	cells     = 10       // privileges told apart; all others share one more cell
	longRun   = 2000     // uses that the long histogram remembers
	shortGain = 0.02     // weight of the newest use in the short histogram
	shortRun  = 49       // independent uses that the short histogram is worth: half of its 2/gain - 1 effective ones
	nameCap   = 22       // bytes of a privilege's name that are kept for explanations
	dispGain  = 1.0 / 16 // weight of the newest value in the running dispersion

	unknownDispersion = 2 // until the agent has shown its own
)

// A Histogram is the distribution of the privileges an agent exercises, twice:
// over its last two thousand uses, and over its last hundred.
type Histogram struct {
	uses       uint32  // learned into the long histogram
	seen       uint32  // all
	dispersion float32 // running mean of G per degree of freedom, as the agent's habits make it
	cell       [cells + 1]cell
}

type cell struct {
	id          uint64
	long, short float32
	nameLen     uint8
	name        [nameCap]byte
}

func (c *cell) label() string {
	if c.id == 0 {
		return "others"
	}
	return string(c.name[:c.nameLen])
}

// at returns the cell of a privilege: its own, a free one, or the shared last one.
func (h *Histogram) at(privilege string) *cell {
	id := hash(privilege)
	for i := range cells {
		c := &h.cell[i]
		if c.id == id {
			return c
		}
		if c.id == 0 {
			c.id = id
			c.nameLen = uint8(copy(c.name[:], privilege))
			return c
		}
	}
	return &h.cell[cells]
}

// learn takes one use. The short histogram follows always; the long one, which
// is the baseline, only where the use is not suspect.
func (h *Histogram) learn(privilege string, suspect bool) {
	used := h.at(privilege)
	h.seen++
	if !suspect {
		h.uses++
	}
	gain := float32(1) / float32(min(max(h.uses, 1), longRun))
	for i := range h.cell {
		c := &h.cell[i]
		var one float32
		if c == used {
			one = 1
		}
		if !suspect {
			c.long += float32(gain * (one - c.long))
		}
		if h.seen == 1 {
			c.short = one
		} else {
			c.short += float32(shortGain * (one - c.short))
		}
	}
}

// divergence is the likelihood-ratio statistic G of the short histogram against the long one,
//
//	G = 2 n sum_i q_i ln((q_i + e) / (p_i + e)),  n = 49, e = 1/2n
//
// with one degree of freedom less than there are cells in use. For independent
// uses it is asymptotically chi-square (Wilks 1938).
func (h *Histogram) divergence() (g float64, df int) {
	const e = 1.0 / (2 * shortRun)
	for i := range h.cell {
		p, q := float64(h.cell[i].long), float64(h.cell[i].short)
		if p < e/4 && q < e/4 {
			continue
		}
		df++
		g += float64(q * math.Log((q+e)/(p+e)))
	}
	return math.Max(2*shortRun*g, 0), max(df-1, 1)
}

// tail is the p-value of a divergence. Uses come in runs, a session at a time,
// so G is scaled by the dispersion that the agent has shown so far (the
// first-order correction of Rao & Scott 1984), never below one.
func (h *Histogram) tail(g float64, df int) float64 {
	scale := math.Max(float64(h.dispersion), 1)
	if h.dispersion == 0 {
		scale = unknownDispersion
	}
	return distuv.ChiSquared{K: float64(df)}.Survival(g / scale)
}

// disperse learns how far the habits diverge of themselves. Values are clipped
// at four times what is known, so that an attack cannot buy itself room at once.
func (h *Histogram) disperse(g float64, df int) {
	x := g / float64(df)
	if h.dispersion == 0 {
		h.dispersion = unknownDispersion
	}
	x = math.Min(x, 4*float64(h.dispersion))
	h.dispersion += float32(float64(dispGain * (x - float64(h.dispersion))))
}

// due reports whether it is time to look at the distribution: once in 32 uses,
// from the time that the short histogram is full.
func (h *Histogram) due() bool { return h.seen >= 2*shortRun && h.seen%evaluateEvery == 0 }

// risen returns the cell that contributes most to the divergence.
func (h *Histogram) risen() *cell {
	most := &h.cell[0]
	for i := range h.cell {
		if c := &h.cell[i]; c.short-c.long > most.short-most.long {
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
