package event

import (
	"bytes"
	"fmt"
	"time"
)

// Timestamp is a time in Unix nanoseconds (years 1678 to 2262); zero is missing.
type Timestamp int64

// At returns the timestamp of t.
func At(t time.Time) Timestamp { return Timestamp(t.UnixNano()) }

// Time returns the same instant as a time.Time in UTC.
func (t Timestamp) Time() time.Time { return time.Unix(0, int64(t)).UTC() }

// String formats t as RFC 3339 with as many digits of a fraction as it needs.
func (t Timestamp) String() string { return t.Time().Format(time.RFC3339Nano) }

// Sub returns t minus u.
func (t Timestamp) Sub(u Timestamp) time.Duration { return time.Duration(t - u) }

// MarshalText writes RFC 3339; a missing time is empty.
func (t Timestamp) MarshalText() ([]byte, error) {
	if t == 0 {
		return nil, nil
	}
	return t.Append(nil), nil
}

// Append appends what [Timestamp.String] returns, at a quarter of the cost.
func (t Timestamp) Append(dst []byte) []byte {
	seconds, nanos := int64(t)/1e9, int64(t)%1e9
	if nanos < 0 {
		seconds, nanos = seconds-1, nanos+1e9
	}
	days, second := seconds/86400, seconds%86400
	if second < 0 {
		days, second = days-1, second+86400
	}
	year, month, day := civil(int(days))
	mark := len(dst)
	dst = append(dst, "2006-01-02T15:04:05"...)
	text := dst[mark:]
	putTwo(text[0:], year/100)
	putTwo(text[2:], year%100)
	putTwo(text[5:], month)
	putTwo(text[8:], day)
	putTwo(text[11:], int(second)/3600)
	putTwo(text[14:], int(second)/60%60)
	putTwo(text[17:], int(second)%60)
	if nanos > 0 {
		dst = append(dst, ".000000000"...)
		for i := len(dst) - 1; nanos > 0; i-- {
			dst[i] = byte('0' + nanos%10)
			nanos /= 10
		}
		dst = bytes.TrimRight(dst, "0")
	}
	return append(dst, 'Z')
}

// putTwo writes the two digits of a number to the beginning of b.
func putTwo(b []byte, v int) { b[0], b[1] = byte('0'+v/10), byte('0'+v%10) }

// UnmarshalText reads what [Timestamp.MarshalText] writes.
func (t *Timestamp) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*t = 0
		return nil
	}
	v, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return err
	}
	if !At(v).Time().Equal(v) {
		return fmt.Errorf("time %s is beyond what nanoseconds since 1970 can hold", b)
	}
	*t = At(v)
	return nil
}

// year2000 is the earliest time of an event, and the least Unix nanoseconds can be: a smaller number counts other units.
const year2000 Timestamp = 946684800e9

// time reads a time that begins with c: a string as RFC 3339 has it, or a number of nanoseconds.
func (d *Decoder) time(c byte) (Timestamp, bool) {
	const want = "want RFC 3339 such as 2006-01-02T15:04:05.999Z, or integer Unix nanoseconds"
	at := d.i
	if isDigit(c) || c == '-' {
		v, ok := d.integer()
		if ok && v.V < int64(year2000) {
			return 0, d.fail(at, "is a number too small for nanoseconds since 1970, "+want)
		}
		return Timestamp(v.V), ok
	}
	if c != '"' {
		return 0, d.wrong("a time: RFC 3339 in quotes, or integer Unix nanoseconds")
	}
	s, ok := d.text(true)
	if !ok {
		return 0, false
	}
	if s == "" {
		return 0, true
	}
	t, ok := parseTime(s)
	switch {
	case !ok:
		return 0, d.fail(at, "is not a time from the years 1678 to 2262, "+want)
	case t == 0 && d.at == fTime:
		return 0, d.fail(at, "is the Unix epoch, want the time of the event")
	}
	return t, true
}

// parseTime reads RFC 3339, in either case of T and Z. Digits of the fraction
// beyond nanoseconds are cut off. It refuses what nanoseconds since 1970 cannot hold.
func parseTime(s string) (t Timestamp, ok bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	century, ok0 := two(s, 0)
	year, ok1 := two(s, 2)
	month, ok2 := two(s, 5)
	day, ok3 := two(s, 8)
	hour, ok4 := two(s, 11)
	minute, ok5 := two(s, 14)
	second, ok6 := two(s, 17)
	year += century * 100
	if !(ok0 && ok1 && ok2 && ok3 && ok4 && ok5 && ok6) || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}

	i, nanos := 19, 0
	if s[i] == '.' {
		first, unit := i+1, 100_000_000
		for i++; i < len(s) && isDigit(s[i]); i++ {
			nanos += int(s[i]-'0') * unit
			unit /= 10
		}
		if i == first {
			return 0, false
		}
	}

	offset := 0
	switch zone := s[i:]; {
	case zone == "Z" || zone == "z":
	case len(zone) == len("+07:00") && (zone[0] == '+' || zone[0] == '-') && zone[3] == ':':
		h, ok1 := two(zone, 1)
		m, ok2 := two(zone, 4)
		if !ok1 || !ok2 || h > 23 || m > 59 {
			return 0, false
		}
		if offset = h*3600 + m*60; zone[0] == '-' {
			offset = -offset
		}
	default:
		return 0, false
	}

	seconds := int64(daysSince1970(year, month, day))*86400 + int64(hour*3600+minute*60+second-offset)
	if seconds < minSeconds || seconds > maxSeconds {
		return 0, false
	}
	return Timestamp(seconds*1e9 + int64(nanos)), true
}

// The seconds whose every nanosecond an int64 holds.
const minSeconds, maxSeconds = -9223372036, 9223372035

// two reads the two digits at i.
func two(s string, i int) (v int, ok bool) {
	hi, lo := s[i], s[i+1]
	return int(hi-'0')*10 + int(lo-'0'), isDigit(hi) && isDigit(lo)
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSince1970 counts in years that begin in March, so that the leap day comes last.
func daysSince1970(year, month, day int) int {
	if month < 3 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 719468
}

// civil is the date of a day, counted from 1970: the inverse of daysSince1970. It
// counts in eras of 400 years, so that nothing is negative.
func civil(days int) (year, month, day int) {
	const era = 146097 // days
	days += 719468 + era
	of := days % era
	y := (of - of/1460 + of/36524 - of/146096) / 365
	of -= 365*y + y/4 - y/100
	m := (5*of + 2) / 153 // from March on
	year, month, day = y+days/era*400-400, m+3, of-(153*m+2)/5+1
	if month > 12 {
		year, month = year+1, month-12
	}
	return year, month, day
}
