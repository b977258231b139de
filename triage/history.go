package triage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/triage/command"
)

// HistoryConfig says whether and how what is stored is asked for the first look at a
// finding.
type HistoryConfig struct {
	Enabled bool          `koanf:"enabled"`
	Timeout time.Duration `koanf:"timeout"` // of all that is asked about one finding
	Window  time.Duration `koanf:"window"`  // how far back peers and destinations are looked at
}

// DefaultHistoryConfig asks nothing: a triage process by itself knows of no store.
func DefaultHistoryConfig() HistoryConfig {
	return HistoryConfig{Timeout: 2 * time.Second, Window: 7 * 24 * time.Hour}
}

// Validate lists everything wrong with c.
func (c HistoryConfig) Validate() error {
	var errs []error
	if c.Timeout < 10*time.Millisecond || c.Timeout > 30*time.Second {
		errs = append(errs, fmt.Errorf("timeout: is %s, want 10ms to 30s", c.Timeout))
	}
	if c.Window < time.Hour || c.Window > 90*24*time.Hour {
		errs = append(errs, fmt.Errorf("window: is %s, want 1h to 2160h", c.Window))
	}
	return errors.Join(errs...)
}

// A History answers what is stored about the past of a finding.
type History func(context.Context, command.Question) (command.Past, error)

// UseHistory says who answers. It is to be called before Run; without it the first look
// rests on the finding, its incident and the policy alone.
func (t *Triage) UseHistory(h History) { t.history = h }

// remember asks what is stored, within bounds. That it is not known is no error.
func (t *Triage) remember(ctx context.Context, f *detect.Finding) *recalled {
	if !t.breaker.allows(t.now()) {
		t.metrics.histories.WithLabelValues("broken").Inc()
		return notAsked("the store has not answered lately")
	}
	ctx, cancel := context.WithTimeout(ctx, t.cfg.History.Timeout)
	defer cancel()
	if !t.mayAsk(ctx) {
		t.metrics.histories.WithLabelValues("skipped").Inc()
		return notAsked("many findings came at once")
	}
	defer func() { <-t.asking }()
	past, err := t.history(ctx, command.Question{
		Finding: f.ID, Agent: f.Agent, Role: f.Role, Tenant: f.Tenant, Tool: f.Did.Tool, Privilege: f.Did.Privilege, Destination: f.Did.Destination,
		Evidence: f.Evidence[:min(len(f.Evidence), maxFindings)], Time: f.Time, Window: t.cfg.History.Window,
	})
	t.breaker.note(t.now(), err == nil)
	if err != nil {
		t.metrics.histories.WithLabelValues("failed").Inc()
		t.log.Warn("the store does not tell of the past of a finding", "finding", f.ID, "err", err)
		return notAsked(fmt.Sprintf("the store did not answer within %s", t.cfg.History.Timeout))
	}
	t.metrics.histories.WithLabelValues("answered").Inc()
	return &recalled{past: past}
}

// rest is for how long no finding must have come before anything is asked, so that no
// question takes the processor from whoever commands.
const rest = 500 * time.Millisecond

// mayAsk waits for the turn to ask, and for a time of rest; it reports false when ctx
// ends before. Who was given the turn hands it on.
func (t *Triage) mayAsk(ctx context.Context) bool {
	select {
	case t.asking <- true:
	case <-ctx.Done():
		return false
	}
	for {
		left := rest - time.Since(time.Unix(0, t.busy.Load()))
		if left <= 0 {
			return true
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			<-t.asking
			return false
		}
	}
}
