package event

import (
	"math"
	"strconv"
)

// number reads the number at i and returns its text, and whether it is written without fraction and exponent.
func (s *scanner) number() (text string, whole, ok bool) {
	b, i := s.line, s.i
	if i < len(b) && b[i] == '-' {
		i++
	}
	digits := func(what string) bool {
		from := i
		for i < len(b) && isDigit(b[i]) {
			i++
		}
		if i == len(b) && i == from {
			return s.short("a digit")
		}
		return i > from || s.fail(i, "is a broken number, want a digit "+what)
	}
	first := i
	if !digits("here") {
		return "", false, false
	}
	if b[first] == '0' && i > first+1 {
		return "", false, s.fail(first, "is a number with a leading zero, want none")
	}
	whole = true
	if i < len(b) && b[i] == '.' {
		i++
		whole = false
		if !digits("after the point") {
			return "", false, false
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		whole = false
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits("in the exponent") {
			return "", false, false
		}
	}
	text = view(b[s.i:i])
	s.i = i
	return text, whole, true
}

// integer reads a whole number from 0 on.
func (d *Decoder) integer() (Opt[int64], bool) {
	// Up to eighteen digits fit whatever they are, and end at what cannot go on a number.
	b, i := d.line, d.i
	var v int64
	for i < len(b) && i < d.i+18 && isDigit(b[i]) {
		v = v*10 + int64(b[i]-'0')
		i++
	}
	if i < len(b) && (b[i] == ',' || b[i] == '}') && i > d.i && (b[d.i] != '0' || i == d.i+1) {
		d.i = i
		return Some(v), true
	}

	at := d.i
	if c := d.next(); c != '-' && !isDigit(c) {
		return Opt[int64]{}, d.wrong("an integer")
	}
	text, whole, ok := d.number()
	if !ok {
		return Opt[int64]{}, false
	}
	if whole {
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return Opt[int64]{}, d.fail(at, "is out of range, want an integer from 0 to "+strconv.Itoa(math.MaxInt64))
		}
		if v < 0 {
			return Opt[int64]{}, d.fail(at, "is negative, want 0 or more")
		}
		return Some(v), true
	}
	// Some writers know no integers: 7.0 and 1e3 are 7 and 1000, as long as a float64 holds them exactly.
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case f < 0:
		return Opt[int64]{}, d.fail(at, "is negative, want 0 or more")
	case err != nil || f > 1<<53:
		return Opt[int64]{}, d.fail(at, "is out of range, want an integer without point or exponent")
	case f != math.Trunc(f):
		return Opt[int64]{}, d.fail(at, "has a fraction, want an integer")
	}
	return Some(int64(f)), true
}

// float reads a number from 0 on.
func (d *Decoder) float() (Opt[float64], bool) {
	at := d.i
	if c := d.next(); c != '-' && !isDigit(c) {
		return Opt[float64]{}, d.wrong("a number")
	}
	text, _, ok := d.number()
	if !ok {
		return Opt[float64]{}, false
	}
	v, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return Opt[float64]{}, d.fail(at, "is out of range, want a number that a float64 holds")
	case v < 0:
		return Opt[float64]{}, d.fail(at, "is negative, want 0 or more")
	case v == 0:
		v = 0 // -0 too
	}
	return Some(v), true
}

func isDigit(c byte) bool { return c-'0' < 10 }
