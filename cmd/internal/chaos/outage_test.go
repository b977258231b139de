package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/rules"
)

// outage is longer than every time-out of the configuration under test. While
// nothing answers, Kafka's add up to some more.
const (
	outage       = 10 * time.Second
	frozenOutage = 18 * time.Second
	fullOutage   = 8 * time.Second
)

// An expectation is what an outage is to do to the roles.
type expectation struct {
	part   string
	frozen bool                // or, without full, killed
	full   bool                // its disk
	stuck  string              // role that cannot process meanwhile, and says so
	red    map[string][]string // parts that roles lack meanwhile, by role; others are green
	grows  []gauge             // metrics that tell of it
	goesOn []gauge             // counters that go on meanwhile
	stops  []gauge             // counters that stand still at the end
}

// lasts is how long the part is away.
func (e expectation) lasts() time.Duration {
	switch {
	case e.frozen:
		return frozenOutage
	case e.full:
		return fullOutage
	}
	return outage
}

type gauge struct{ role, name, label string }

// TestOutages stops one part after the other for longer than every time-out,
// while the load goes on, and looks what the others say of it.
func TestOutages(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Binary, cfg.Dir = binary(t), t.TempDir()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	lines, err := history(5, 30, 12)
	if err != nil {
		t.Fatal(err)
	}
	detection, err := rules.Detection("")
	if err != nil {
		t.Fatal(err)
	}
	w, err := build(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	judged := []gauge{{"ingest", "stakeout_ingest_events_total", ""}, {"detect", "stakeout_detect_events_total", ""}}
	all := []expectation{
		{part: "kafka", frozen: true, red: map[string][]string{"ingest": {"kafka"}, "detect": {"kafka"}, "triage": {"kafka"}, "store": {"kafka"}}},
		{part: "clickhouse", red: map[string][]string{"store": {"clickhouse"}}, goesOn: judged,
			grows: []gauge{{"store", "stakeout_store_oldest_waiting_seconds", `table="events"`}}},
		{part: "kafka", red: map[string][]string{"ingest": {"kafka"}, "detect": {"kafka"}, "triage": {"kafka"}, "store": {"kafka"}}},
		{part: "nats", red: map[string][]string{"triage": {"nats"}, "store": {"actions"}, "executor": {"executor"}}, goesOn: judged},
		{part: "clickhouse", frozen: true, red: map[string][]string{"store": {"clickhouse"}}, goesOn: judged,
			grows: []gauge{{"store", "stakeout_store_oldest_waiting_seconds", `table="events"`}}},
		{part: "executor", red: map[string][]string{}, goesOn: judged},
		{part: "kafka", full: true, stops: judged, red: map[string][]string{"ingest": {"kafka"}, "detect": {"kafka"}, "triage": {"kafka"}, "store": {"kafka"}}},
		{part: "nats", full: true, stuck: "triage", goesOn: judged},
	}
	load := &loader{addr: w.kafkaAddr, topic: w.app.Topics.Raw[0], lines: lines}
	for _, e := range all {
		// It must last until the last outage is over, however long the parts take to recover from the others.
		load.over += e.lasts() + 8*time.Second
	}
	loaded := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { loaded <- load.run(ctx) }()
	defer func() { stop(); <-loaded }()

	eventually(t, 30*time.Second, func() error { return w.shows(ctx, expectation{}) })
	for _, e := range all {
		kind := "killed"
		switch {
		case e.frozen:
			kind = "frozen"
		case e.full:
			kind = "full"
		}
		t.Run(e.part+" "+kind, func(t *testing.T) { w.suffer(ctx, t, e) })
	}
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
	loaded <- nil // for whoever waits at the end
	res, took, err := w.settled(ctx, func(ctx context.Context) (*tally, error) { return w.compare(ctx, lines, detection) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("after all outages: caught up within %s, %d findings, %d actions, %d lost, %d doubled", took.Round(time.Millisecond), res.findings, res.actions, res.lost, res.doubled)
	for _, p := range append(res.problems, w.fallen()...) {
		t.Error(p)
	}
}

// suffer goes through one outage.
func (w *world) suffer(ctx context.Context, t *testing.T, e expectation) {
	var victim part
	for _, p := range append(slices.Clone(w.roles), w.servers...) {
		if p.String() == e.part {
			victim = p
		}
	}
	memory, err := w.resident(ctx, e.part)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := victim.kill, victim.start
	switch {
	case e.frozen:
		begin, end = victim.freeze, victim.thaw
	case e.full:
		disk := w.disks[e.part]
		if disk == nil && os.Getenv("CI") == "" {
			t.Skip("the machine has no disk that can be full")
		}
		if disk == nil {
			t.Fatal("the machine has no disk that can be full")
		}
		begin, end = disk.fill, func() error { return errors.Join(disk.room(), victim.revive()) }
	}
	start, outage := time.Now(), e.lasts()
	if err := begin(); err != nil {
		t.Fatal(err)
	}
	eventually(t, outage, func() error { return w.shows(ctx, e) })
	t.Logf("the roles say so within %s", time.Since(start).Round(100*time.Millisecond))

	before, err := w.counts(ctx, e.goesOn)
	if err != nil {
		t.Fatal(err)
	}
	if e.stuck != "" {
		eventually(t, 30*time.Second, func() error { return w.isStuck(ctx, e.stuck) })
		t.Logf("%s says that it cannot process after %s", e.stuck, time.Since(start).Round(100*time.Millisecond))
	}
	wait(ctx, outage-time.Since(start))
	if err := w.shows(ctx, e); err != nil {
		t.Errorf("at the end of the outage: %v", err)
	}
	after, err := w.counts(ctx, e.goesOn)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range e.goesOn {
		if after[i] <= before[i] {
			t.Errorf("%s of %s is still at %v, want that it goes on", g.name, g.role, after[i])
		}
	}
	still, err := w.counts(ctx, e.stops)
	if err != nil {
		t.Fatal(err)
	}
	wait(ctx, time.Second)
	if now, err := w.counts(ctx, e.stops); err != nil || !slices.Equal(now, still) {
		t.Errorf("%v goes from %v to %v (%v), want that it stands still", e.stops, still, now, err)
	}
	waiting, err := w.counts(ctx, e.grows)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range e.grows {
		if waiting[i] < (outage / 2).Seconds() {
			t.Errorf("%s of %s is %v, want it to tell of an outage of %s", g.name, g.role, waiting[i], outage)
		}
	}
	now, err := w.resident(ctx, e.part)
	if err != nil {
		t.Fatal(err)
	}
	for role, was := range memory {
		if now[role] > was+200<<20 {
			t.Errorf("%s holds %.0f MB, %.0f MB before", role, now[role]/1e6, was/1e6)
		}
	}
	over := time.Now()
	if err := end(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() error { return w.shows(ctx, expectation{}) })
	green := time.Since(over)
	eventually(t, 30*time.Second, func() error { return w.caughtUp(ctx) })
	t.Logf("green again after %s, caught up after %s", green.Round(100*time.Millisecond), time.Since(over).Round(100*time.Millisecond))
}

// each calls f for every role but one.
func (w *world) each(but string, f func(*process) error) error {
	for _, r := range w.roles {
		if p, ok := r.(*process); ok && p.String() != but {
			if err := f(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// isStuck is nil when a role says that it cannot process what it reads.
func (w *world) isStuck(ctx context.Context, role string) error {
	stuck := false
	err := w.each("", func(p *process) error {
		_, body, err := p.get(ctx, "/readyz")
		stuck = stuck || p.String() == role && strings.Contains(body, processing)
		return err
	})
	if err == nil && !stuck {
		err = fmt.Errorf("%s processes", role)
	}
	return err
}

// shows is nil when every role lacks exactly what it is expected to lack.
func (w *world) shows(ctx context.Context, e expectation) error {
	return w.each(e.part, func(p *process) error {
		role, _, _ := strings.Cut(p.String(), "-")
		red, err := p.red(ctx)
		if err == nil && !slices.Equal(red, e.red[role]) {
			err = fmt.Errorf("%s lacks %q, want %q", p, red, e.red[role])
		}
		return err
	})
}

// counts sums metrics over the processes of their roles.
func (w *world) counts(ctx context.Context, gauges []gauge) ([]float64, error) {
	sums := make([]float64, len(gauges))
	for i, g := range gauges {
		err := w.each("", func(p *process) error {
			if !strings.HasPrefix(p.String(), g.role) {
				return nil
			}
			v, err := p.metric(ctx, g.name, g.label)
			sums[i] += v
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return sums, nil
}

func (w *world) resident(ctx context.Context, but string) (map[string]float64, error) {
	memory := map[string]float64{}
	err := w.each(but, func(p *process) (err error) {
		memory[p.String()], err = p.metric(ctx, "process_resident_memory_bytes", "")
		return err
	})
	return memory, err
}

// groups are those that read what the pipeline writes, with what they read.
func (w *world) groups() [][2]string {
	g, t := w.app.Groups, w.app.Topics
	return [][2]string{{g.Ingest, t.Raw[0]}, {g.Detect, t.Events}, {w.app.Triage.Group, t.Findings}, {g.Store + "-" + t.Events, t.Events}}
}

// caughtUp is nil when no group is more than a moment behind.
func (w *world) caughtUp(ctx context.Context) error {
	for _, x := range w.groups() {
		lag, err := w.lagOf(ctx, x[0], x[1])
		if err == nil && lag > 1500 {
			err = fmt.Errorf("%s is %d records behind", x[0], lag)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func eventually(t *testing.T, within time.Duration, ask func() error) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) || t.Context().Err() != nil {
			t.Errorf("not within %s: %v", within, errors.Join(err, t.Context().Err()))
			return
		}
		wait(t.Context(), 100*time.Millisecond)
	}
}
