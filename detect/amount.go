package detect

import (
	"fmt"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// bytesText writes a number of bytes for people.
func bytesText(n float64) string {
	const step = 1000
	units := [...]string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	for _, unit := range units {
		if n < step || unit == units[len(units)-1] {
			if n < 10 && unit != "B" {
				return fmt.Sprintf("%.1f %s", n, unit)
			}
			return fmt.Sprintf("%.0f %s", n, unit)
		}
		n /= step
	}
	return ""
}

// hourText names the hour of a time.
func hourText(t event.Timestamp) string { return t.Time().UTC().Format("2006-01-02T15") + ":00Z" }

// remembered says how many of so many things are remembered.
func remembered(n uint16, most uint16, things string) string {
	if n >= most {
		return fmt.Sprintf("the last %d %s", most, things)
	}
	return fmt.Sprintf("%d %s", n, things)
}
