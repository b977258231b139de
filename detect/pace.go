package detect

import "math"

// A pace is how often a thing happens in a day: a chance in each of many times
// is another one in a day.
type pace struct {
	today uint16
	usual uint16 // of the days before, in 1/16; 0: there was none
}

const (
	paceUnit = 16 // of a pace in one
	paceDays = 16 // that are remembered
)

// daily is how often the thing happens in a day, at least once: on the days before,
// or where there are none today.
func (p pace) daily() float64 {
	if p.usual == 0 {
		return max(float64(p.today), 1)
	}
	return max(float64(p.usual)/paceUnit, 1)
}

// close takes in the day, and those that passed since without anything.
func (p *pace) close(days uint32) {
	if p.usual == 0 {
		p.usual = uint16(min(int(p.today)*paceUnit, math.MaxUint16))
	} else {
		p.usual = uint16(max(1, int(p.usual)+(min(int(p.today)*paceUnit, math.MaxUint16)-int(p.usual))/paceDays))
	}
	p.today = 0
	for range min(days-1, 4*paceDays) {
		p.usual -= p.usual / paceDays
	}
}

func (p *pace) code(c *coder) {
	c.u16(&p.today)
	c.u16(&p.usual)
}
