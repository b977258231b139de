package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/rules"
)

// TestStop stops the pipeline at every moment of its life. Each time it ends
// quickly, leaves no process behind, and its data opens again.
func TestStop(t *testing.T) {
	engine(t)
	f := simulated(t, 10, 10, "--threats", "none")
	dir := filepath.Join(t.TempDir(), "data")
	shipped := 0
	for _, after := range []time.Duration{50 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond, time.Second} {
		p := begin(t, []string{chdbEnv + "=" + engine(t)}, "up", "--config", local(dir, nil).write(t))
		moment := time.NewTimer(after)
		<-moment.C
		children := p.children()
		p.signal(syscall.SIGINT)
		code := p.wait(5 * time.Second)
		// Before the program has come so far as to ask for it, the signal ends it.
		if code != 0 && (code != -1 || after > 100*time.Millisecond) {
			t.Errorf("stopped after %s: exit status %d, want 0\n%s", after, code, p.log())
		}
		p.gone(children)
		if code == 0 && strings.Contains(p.log(), "level=ERROR") {
			t.Errorf("stopped after %s, it complains:\n%s", after, p.log())
		}
	}

	p := up(t, dir, nil)
	shipped += p.ship(f.file)
	p.stop() // with everything under way
	p = up(t, dir, nil)
	p.stored(shipped)
	p.stop() // with nothing to do
	if log := p.log(); strings.Contains(log, "level=ERROR") {
		t.Errorf("stopped while idle, it complains:\n%s", log)
	}
	p = up(t, dir, nil)
	if n := p.number(countEvents); n != shipped {
		t.Errorf("%d events are stored after a restart, want %d", n, shipped)
	}
	p.signal(syscall.SIGTERM) // as a service manager does
	if code := p.wait(5 * time.Second); code != 0 {
		t.Errorf("stopped by SIGTERM: exit status %d, want 0", code)
	}
}

// freePort is a port that was free a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	check(t, ln.Close())
	return ln.Addr().String()
}

// shipping sends a file in the background.
func (p *pipeline) shipping(file string) (acknowledged func() int) {
	s := begin(p.t, nil, "ship", "--config", p.file, "--format", "json", "--quiet", file)
	return func() int {
		p.t.Helper()
		var sent struct{ Lines int }
		line := <-s.first
		if code := s.wait(time.Minute); code != 0 {
			p.t.Errorf("ship: exit status %d\n%s", code, s.log())
		}
		check(p.t, json.Unmarshal([]byte(line), &sent))
		return sent.Lines
	}
}

// stable is a configuration whose broker has the same address after a restart,
// and soon forgets those who were members of a group when it was killed.
func stable(t testing.TB, dir string) settings {
	t.Helper()
	s := local(dir, settings{"kafka": settings{"session_timeout": "3s", "heartbeat_interval": "1s", "rebalance_timeout": "10s"}})
	s["up"].(settings)["kafka"] = freePort(t)
	return s
}

// TestCrash kills and stops the pipeline under load, again and again. Who ships
// does not notice more than a delay, and everything comes out as if nothing had
// happened.
func TestCrash(t *testing.T) {
	engine(t)
	t.Parallel() // half a minute of it is waiting
	f := simulated(t, 40, 16, "--seed", "9", "--threats", "privilege-drift,confused-deputy,memory-poisoning")
	dir := filepath.Join(t.TempDir(), "data")
	file := stable(t, dir).write(t)
	p := upWith(t, file, dir)
	acknowledged := p.shipping(f.file)
	for i := range 4 {
		moment := time.NewTimer(time.Duration(300+200*i) * time.Millisecond)
		<-moment.C
		if i%2 == 0 {
			p.kill()
		} else {
			p.stop()
		}
		p = upWith(t, file, dir)
	}
	if n := acknowledged(); n != f.lines {
		t.Errorf("ship acknowledged %d lines, want %d", n, f.lines)
	}
	p.complete(t, f)
	p.stop()
}

// TestEngineCrash kills the ClickHouse engine under load, again and again.
func TestEngineCrash(t *testing.T) {
	engine(t)
	f := simulated(t, 40, 16, "--seed", "10", "--threats", "privilege-drift,confused-deputy,memory-poisoning")
	p := up(t, filepath.Join(t.TempDir(), "data"), nil)
	for line := range strings.Lines(p.log()) { // that nothing was there yet is no reason to warn
		if strings.Contains(line, "level=WARN") && strings.Contains(line, "consumer") {
			t.Errorf("a first start warns: %s", line)
		}
	}
	acknowledged := p.shipping(f.file)
	child := 0
	for range 4 {
		eventually(t, 20*time.Second, func() error {
			children := p.children()
			if len(children) != 1 || children[0] == child {
				return fmt.Errorf("the children are %v, want one in place of %d", children, child)
			}
			child = children[0]
			return nil
		})
		moment := time.NewTimer(300 * time.Millisecond)
		<-moment.C
		check(t, syscall.Kill(child, syscall.SIGKILL))
		p.gone([]int{child})
	}
	if n := acknowledged(); n != f.lines {
		t.Errorf("ship acknowledged %d lines, want %d", n, f.lines)
	}
	p.complete(t, f)
	eventually(t, 20*time.Second, func() error {
		if status, body := p.get("/readyz"); status != 200 {
			return fmt.Errorf("/readyz answers %d %s", status, body)
		}
		return nil
	})
	p.stop()
}

// complete holds everything stored against what the detectors say of the file
// when they read it in one go.
func (p *pipeline) complete(t *testing.T, f fleet) {
	t.Helper()
	p.stored(f.lines)
	want := backtest(t, f.file)
	if len(want) == 0 {
		t.Error("nothing is to be found in the file")
	}
	// What NATS had handed out when its reader was killed is handed out again half a minute later.
	eventually(t, time.Minute, func() error {
		got := p.rows("SELECT id FROM stakeout.findings FINAL ORDER BY id")
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("findings of the file and stored (-file +stored):\n%s", diff)
		}
		return p.answered()
	})
	for _, table := range []string{"findings", "actions", "profiles"} {
		key := map[string]string{"profiles": "agent"}[table]
		if key == "" {
			key = "id"
		}
		if n, distinct := p.number("SELECT count() FROM stakeout."+table+" FINAL"), p.number("SELECT uniqExact("+key+") FROM stakeout."+table); n != distinct {
			t.Errorf("%d %s are stored, and %d different ones", n, table, distinct)
		}
	}
	told := map[string]bool{}
	for _, m := range p.heard(t) {
		o, ok := m.outcome(t)
		if !ok {
			continue
		}
		if told[o.Action.ID] {
			t.Errorf("what became of action %s is told twice on NATS", o.Action.ID)
		}
		told[o.Action.ID] = true
	}
	if diff := cmp.Diff(p.rows("SELECT id FROM stakeout.actions FINAL ORDER BY id"), slices.Sorted(maps.Keys(told))); diff != "" {
		t.Errorf("actions stored and on NATS (-stored +nats):\n%s", diff)
	}
}

// backtest asks the detectors themselves, without anything around them.
func backtest(t testing.TB, file string) (ids []string) {
	t.Helper()
	r, err := rules.Detection("")
	check(t, err)
	e, joint := detect.New(r), entity.New(r)
	var d event.Decoder
	var ev event.Event
	for i, line := range lines(t, file) {
		check(t, d.Decode([]byte(line), &ev))
		for _, f := range e.Observe(&ev, int64(i), event.Source{}) {
			ids = append(ids, f.ID)
		}
		for _, told := range e.Facts() {
			for _, f := range joint.Observe(&told) {
				ids = append(ids, f.ID)
			}
		}
	}
	slices.Sort(ids)
	return ids
}
