package app

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/rules"
	"github.com/stakeout-project/stakeout/triage"
)

// reloadEvery is how soon a changed response policy is in force: at 3 a.m. the
// kill switch is a line in that file.
const reloadEvery = 2 * time.Second

// A reloader puts the response policy in force whenever its file changes. A
// wrong one is refused whole, and the one in force stays.
type reloader struct {
	file string
	set  func(triage.Policy) error
	log  *slog.Logger
	last []byte // content that was looked at
	done *prometheus.CounterVec
}

// newReloader makes one for a room, which counts the changes.
func newReloader(file, room string, reg prometheus.Registerer, log *slog.Logger) (*reloader, error) {
	r := &reloader{file: file, log: log, done: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stakeout_" + room + "_policy_reloads_total", Help: "Changes of the response policy, by what came of them: taken, refused.",
	}, []string{"result"})}
	for _, result := range []string{"taken", "refused"} {
		r.done.WithLabelValues(result)
	}
	if err := reg.Register(r.done); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return r, nil
}

// begin takes what the file holds for what is in force.
func (r *reloader) begin() (err error) {
	if r.last, err = os.ReadFile(r.file); err != nil {
		return fmt.Errorf("read response policy: %w", err)
	}
	return nil
}

// run looks at the file until ctx ends.
func (r *reloader) run(ctx context.Context) error {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			r.look()
		}
	}
}

// look puts the policy in force if it is another one than at the last look. It
// compares what the file holds: in a mounted directory its time and its name may
// stay the same.
func (r *reloader) look() {
	data, err := os.ReadFile(r.file)
	if err == nil && bytes.Equal(data, r.last) {
		return
	}
	if err == nil {
		r.last = data
		var p triage.Policy
		if p, err = rules.ParseResponse(r.file, data); err == nil {
			err = r.set(p)
		}
	} else if r.last == nil {
		return // still missing
	} else {
		r.last = nil
	}
	if err != nil {
		r.done.WithLabelValues("refused").Inc()
		r.log.Error("response policy refused; the one in force stays", "file", r.file, "err", err)
		return
	}
	r.done.WithLabelValues("taken").Inc()
	r.log.Info("response policy in force", "file", r.file)
}
