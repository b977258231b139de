package stage

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/cmd/internal/app"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// told is a viewer that writes down what it is told.
type told []string

func (v *told) Say(string, ...any)            {}
func (v *told) Progress(string, int64, int64) {}
func (v *told) Finding(s Sighting)            { *v = append(*v, "finding "+s.Finding.ID) }
func (v *told) Outcome(s Sighting) {
	*v = append(*v, string(s.Outcome.Status)+" "+s.Outcome.Action.ID)
}

// TestCauseBeforeEffect has outcomes seen before the findings that they are about.
func TestCauseBeforeEffect(t *testing.T) {
	var v told
	w := newWatch(app.DefaultConfig(), nil, &v, slog.New(slog.NewTextHandler(t.Output(), nil)))
	outcome := func(status command.Status, action string, findings ...string) {
		w.outcome(command.Outcome{Status: status, Action: command.Action{ID: action, Findings: findings}})
	}
	finding := func(id string) { w.finding(detect.Finding{ID: id, Time: event.At(time.Now())}) }
	outcome(command.Commanded, "a", "1")
	outcome(command.Commanded, "b", "2", "3")
	outcome(command.Verified, "a", "1")
	outcome(command.Shadowed, "c", "1")
	finding("2")
	outcome(command.Commanded, "d", "2")
	outcome(command.Verified, "undone") // about no finding
	finding("1")
	finding("3")
	finding("3")
	want := "finding 2, commanded d, verified undone, finding 1, commanded a, verified a, finding 3, commanded b"
	if got := strings.Join(v, ", "); got != want {
		t.Errorf("told %s\nwant %s", got, want)
	}
	if seen := w.Seen(); len(seen.Findings) != 3 || len(seen.Latest) != 5 {
		t.Errorf("seen %d findings and %d actions, want 3 and 5", len(seen.Findings), len(seen.Latest))
	}
}
