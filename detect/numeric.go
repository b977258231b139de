package detect

import "math"

// A numeric is what is known of a positive quantity of one agent, such as the
// bytes of a call: mean and variance of y = log2(1 + v), because such quantities
// vary by factors. Of the values that it remembers, about the last five hundred,
// each counts at most for huber standard deviations.
type numeric struct {
	mean     uint16 // in 1/1024 bits
	variance uint16 // in 1/1024 bits squared
	n        uint16 // values learned, up to numericRun
}

const (
	fixed        = 1024 // units of a numeric in one bit
	mostBits     = 63   // more than any quantity has
	numericRun   = 500  // values remembered
	numericLeast = 5    // values below which nothing is said
	priorSpread  = 1.0  // variance of a quantity that is not known, in bits squared,
	priorWeight  = 4    // as if from so many values
	leastSpread  = 0.5  // standard deviation, in bits, below which no quantity is believed to be known
	huber        = 3.29 // standard deviations that a value may count for
	mostFreedom  = 30   // degrees of freedom: tails are never taken for normal
)

// bitsOf is the scale on which quantities are compared.
func bitsOf(v float64) float64 { return math.Min(math.Log2(1+v), mostBits) }

// usual is the value in the middle.
func (m *numeric) usual() float64 { return math.Exp2(float64(m.mean)/fixed) - 1 }

// known reports whether enough values were seen to say what is unusual.
func (m *numeric) known() bool { return m.n >= numericLeast }

// deviation is the predictive standard deviation of the next value, in bits.
func (m *numeric) deviation() float64 {
	v := float64(m.variance) / fixed
	return math.Max(math.Sqrt(v*(1+1/math.Max(float64(m.n), 1))), leastSpread)
}

// near is a cheap look at whether a value is too near the usual one to be far more,
// whatever its tail: it is if it is less than two to four times as much.
func (m *numeric) near(v float32) bool { return m.nearAt(v, 0) }

// nearAt is near where an hour makes the quantity so much more or less.
func (m *numeric) nearAt(v float32, o offset) bool {
	exponent := int(math.Float32bits(v)>>23) - 127
	return exponent*perBit < int(m.mean/fixed)*perBit+int(o)+2*perBit
}

// tail is the chance of a value as large: the upper tail of the predictive
// Student distribution. It is 1 while the quantity is not known.
func (m *numeric) tail(v float64) float64 {
	if !m.known() {
		return 1
	}
	t := m.score(v)
	if t <= 0 {
		return 1
	}
	return studentTail(t, math.Min(float64(m.n)+priorWeight-1, mostFreedom))
}

// score is how many standard deviations a value lies above the middle; 0 while the
// quantity is not known.
func (m *numeric) score(v float64) float64 {
	if !m.known() {
		return 0
	}
	return (bitsOf(v) - float64(m.mean)/fixed) / m.deviation()
}

// learn takes a value in.
func (m *numeric) learn(v float64) {
	y := bitsOf(v)
	if m.n == 0 {
		*m = numeric{mean: fixedPoint(y), variance: fixedPoint(priorSpread), n: 1}
		return
	}
	most := huber * m.deviation()
	d := math.Max(-most, math.Min(y-float64(m.mean)/fixed, most))
	m.n = min(m.n, numericRun-1) + 1
	n := float64(m.n)
	m.mean = fixedPoint(float64(m.mean)/fixed + d/n)
	rest := float64(d * (d - d/n))
	was := float64(m.variance) / fixed
	m.variance = fixedPoint(was + (rest-was)/(n+priorWeight-1))
}

// fixedPoint is a number of bits from 0 to 63 in units of a numeric.
func fixedPoint(x float64) uint16 {
	return uint16(math.Round(math.Max(0, math.Min(x, mostBits)) * fixed))
}

func (m *numeric) code(c *coder) {
	c.u16(&m.mean)
	c.u16(&m.variance)
	c.u16(&m.n)
}

// studentTail is the upper tail of Student's distribution at t > 0 with nu
// degrees of freedom by Wallace's approximation (1959),
//
//	z = (8 nu + 1) / (8 nu + 3) sqrt(nu ln(1 + t^2 / nu))
//
// of the normal one. From eight degrees of freedom on, the fewest that occur here, it is
// less than the exact tail by at most 0.2 % and more by at most 0.3 decades, for
// tails down to 1e-12.
func studentTail(t, nu float64) float64 {
	z := (8*nu + 1) / (8*nu + 3) * math.Sqrt(nu*math.Log1p(float64(t*t)/nu))
	return math.Erfc(z/math.Sqrt2) / 2
}
