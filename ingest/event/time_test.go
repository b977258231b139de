package event

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		got, ok := parseTime(s)
		if want == "" {
			if ok {
				t.Errorf("parseTime(%s) = %s, want it refused", s, got)
			}
			return
		}
		if !ok || got.String() != want {
			t.Errorf("parseTime(%s) = %s, %t; want %s", s, got, ok, want)
		}
	}
	f("2026-03-02T08:00:00Z", "2026-03-02T08:00:00Z")
	f("2026-03-02t08:00:00z", "2026-03-02T08:00:00Z")
	f("2026-03-02T08:00:00.5Z", "2026-03-02T08:00:00.5Z")
	f("2026-03-02T08:00:00.123456789+02:00", "2026-03-02T06:00:00.123456789Z")
	f("2026-03-02T08:00:00.1234567899999-00:30", "2026-03-02T08:30:00.123456789Z")
	f("2024-02-29T23:59:59-23:59", "2024-03-01T23:58:59Z")
	f("2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z")
	f("1969-12-31T23:59:59.9Z", "1969-12-31T23:59:59.9Z")
	f("1678-01-01T00:00:00Z", "1678-01-01T00:00:00Z")
	f("2262-04-11T23:47:15.999999999Z", "2262-04-11T23:47:15.999999999Z")
	for _, s := range []string{
		"", "2026", "2026-03-02", "2026-03-02T08:00:00", "2026-03-02T08:00Z", "2026-03-02 08:00:00Z", "2026-03-02T08:00:00.Z", "2026-03-02T08:00:00,5Z",
		"2026-03-02T08:00:00Zx", "2026-03-02T08:00:00+2:00", "2026-03-02T08:00:00+0200", "2026-03-02T08:00:00+24:00", "2026-03-02T08:00:00+02:60",
		"2026-13-02T08:00:00Z", "2026-00-02T08:00:00Z", "2026-02-29T08:00:00Z", "1900-02-29T08:00:00Z", "2026-04-31T08:00:00Z", "2026-03-00T08:00:00Z",
		"2026-03-02T24:00:00Z", "2026-03-02T08:60:00Z", "2026-03-02T08:00:60Z", "2026-03-02T08:00:00.5", "2o26-03-02T08:00:00Z", "2026/03/02T08:00:00Z",
		"1677-01-01T00:00:00Z", "2262-04-11T23:47:16Z", "9999-12-31T23:59:59Z", "2026-03-02T08:00:00é",
	} {
		f(s, "")
	}
}

// Every day on which a year, a month or a leap day begins or ends agrees with the standard library.
func TestDaysSince1970(t *testing.T) {
	for year := 1600; year <= 2400; year++ {
		for month := 1; month <= 12; month++ {
			for _, day := range []int{1, daysIn(year, month)} {
				date := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
				got, want := daysSince1970(year, month, day), int(date.Unix()/86400)
				if got != want {
					t.Fatalf("daysSince1970(%s) = %d, want %d", date.Format(time.DateOnly), got, want)
				}
				if y, m, d := civil(want); y != year || m != month || d != day {
					t.Fatalf("civil(%d) = %d-%d-%d, want %s", want, y, m, d, date.Format(time.DateOnly))
				}
				if date.Day() != day || date.AddDate(0, 0, 1).Day() != 1 && day != 1 {
					t.Fatalf("daysIn(%d, %d) = %d", year, month, day)
				}
			}
		}
	}
}

// strict is the form that RFC 3339 gives a time; the standard library takes single digits and commas too.
var strict = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$`)

// parseTime takes exactly what has the strict form and what the standard library can read, and reads the same.
func FuzzParseTime(f *testing.F) {
	f.Add("2026-03-02T08:00:00.123456789+02:00")
	f.Add("2024-02-29t23:59:59z")
	f.Add("2262-04-11T23:47:16Z")
	f.Add("2000-01-01T0:00:00+00:00")
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseTime(s)
		want, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s))
		valid := err == nil && strict.MatchString(s) && want.Unix() >= minSeconds && want.Unix() <= maxSeconds
		if ok != valid || ok && got != At(want) {
			t.Errorf("parseTime(%q) = %s, %t; the standard library says %s, %v", s, got, ok, want, err)
		}
	})
}

// Append writes what the standard library does.
func FuzzAppendTime(f *testing.F) {
	for _, t := range []int64{0, 1, -1, 946684800e9, 1767603600123456789, 1767603600100000000, -86400e9, -86399999999999, 1<<63 - 1, -1 << 63} {
		f.Add(t)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		if got, want := string(Timestamp(n).Append(nil)), time.Unix(0, n).UTC().Format(time.RFC3339Nano); got != want {
			t.Errorf("Timestamp(%d) is written %s, want %s", n, got, want)
		}
	})
}
