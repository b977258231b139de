package event

import (
	"testing"
	"time"
)

func TestAdmit(t *testing.T) {
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	f := func(at, want time.Time, skew time.Duration, refusal string) {
		t.Helper()
		ev := Event{Time: At(at)}
		got, err := ev.Admit(now)
		reason := ""
		if err != nil {
			reason = err.Error()
		}
		if got != skew || ev.Time != At(want) || reason != refusal {
			t.Errorf("Admit of %s: time %s, skew %s, error %q; want %s, %s, %q", at, ev.Time, got, reason, want, skew, refusal)
		}
	}
	f(now, now, 0, "")
	f(now.Add(MaxAhead), now.Add(MaxAhead), 0, "")
	f(now.Add(MaxAhead+1), now, MaxAhead+1, "")
	hundred := now.AddDate(100, 0, 0)
	f(hundred, now, hundred.Sub(now), "")
	y2k := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	f(y2k, y2k, 0, "")
	const want = "event: time: is before the year 2000, want the time of the event"
	f(y2k.Add(-1), y2k.Add(-1), 0, want)
	f(time.Unix(7, 0), time.Unix(7, 0), 0, want)
}
