package detect

import "math"

// A season is how much more or less than usual an agent spends in each hour of the day
// and on each day of the week, by factors: a nightly batch is no surprise at
// night, and the same amount at noon is one. Both are in 1/8 bits and add up, because
// quantities are compared in bits; hours are those of UTC.
type season struct {
	hour [24]int8
	day  [7]int8
}

// offset is a part of a season, in 1/8 bits.
type offset int

const (
	perBit = 8

	// What an hour shows counts for so much: half where nothing is known of it, then
	// a quarter, and a sixteenth once as many hours are known as are remembered. One
	// hour counts for at most huber deviations, as it does for the quantity itself.
	firstGain = 2
	youngGain = 4
	grownGain = 16
	dayGain   = 4 // times less than that for the day
)

// shown is what the hour of a minute since 1970 has shown.
func (s *season) shown(minute uint32) offset {
	return offset(s.hour[minute/minutesPerHour%24]) + offset(s.day[minute/minutesPerDay%7])
}

// at is what the hour of a minute makes of a quantity as it is known. What is less than
// a deviation is taken for chance: who has no season is not to be the worse known for it.
func (s *season) at(minute uint32, m *numeric) offset {
	o := s.shown(minute)
	if o == 0 || math.Abs(o.bits()) < m.deviation() {
		return 0
	}
	return o
}

// bits is the offset in bits.
func (o offset) bits() float64 { return float64(o) / perBit }

// without is a value as it would be at a usual hour.
func (o offset) without(v float32) float32 {
	if o == 0 {
		return v
	}
	return float32(math.Exp2(math.Max(0, math.Min(bitsOf(float64(v))-o.bits(), mostBits))) - 1)
}

// with is what a usual value would be at this hour.
func (o offset) with(usual float64) float64 {
	return math.Exp2(math.Max(0, bitsOf(usual)+o.bits())) - 1
}

// learn takes in the sum of the hour of a minute, of a quantity as it is known.
func (s *season) learn(minute uint32, v float64, m *numeric) {
	if m.n == 0 {
		return
	}
	hour, day := &s.hour[minute/minutesPerHour%24], &s.day[minute/minutesPerDay%7]
	off := bitsOf(v) - float64(m.mean)/fixed - s.shown(minute).bits()
	gain := float64(firstGain)
	if *hour != 0 {
		most := huber * m.deviation()
		off = math.Max(-most, math.Min(off, most))
		gain = youngGain
		if m.n >= numericRun {
			gain = grownGain
		}
	}
	*hour = moved(*hour, off/gain)
	*day = moved(*day, off/(gain*dayGain))
}

// moved is a part of a season moved by so many bits.
func moved(part int8, bits float64) int8 {
	return int8(math.Max(math.MinInt8, math.Min(math.Round(float64(part)+float64(bits*perBit)), math.MaxInt8)))
}

func (s *season) code(c *coder) {
	c.signed(s.hour[:])
	c.signed(s.day[:])
}
