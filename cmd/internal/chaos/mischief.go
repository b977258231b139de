package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// mischief is what is done to a world, in an order that the seed decides. When
// exactly it happens, the machine decides.
type mischief struct {
	w   *world
	rng *rand.Rand

	killed, frozen, cut, full, torn int

	repairs sync.WaitGroup // under way
	mu      sync.Mutex
	busy    map[part]bool // down or frozen
	errs    []error
}

func newMischief(w *world) *mischief {
	return &mischief{w: w, rng: rand.New(rand.NewPCG(w.cfg.Seed, 1)), busy: map[part]bool{}}
}

// run disturbs for so many rounds. What it breaks is repaired a little later,
// while it goes on.
func (m *mischief) run(ctx context.Context) error {
	for round := range m.w.cfg.Rounds {
		wait(ctx, m.upTo(m.w.cfg.Pause)+m.w.cfg.Pause/2)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var err error
		switch n := m.rng.IntN(20); {
		case n < 10 && m.w.cfg.Fill != "" && len(m.w.disks) > 0:
			err = m.fill(round, m.w.cfg.Fill)
		case n < 12 || len(m.w.cfg.only) > 0:
			err = m.kill(round)
		case n < 16:
			err = m.freeze(round)
		case n < 18 && len(m.w.disks) > 0:
			err = m.fill(round, "")
		default:
			err = m.sever(round)
		}
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}

func (m *mischief) upTo(d time.Duration) time.Duration { return time.Duration(m.rng.Int64N(int64(d))) }

// victim picks a part, roles three times as often as servers, and takes it.
func (m *mischief) victim() part {
	return m.take(m.parts())
}

func (m *mischief) parts() []part {
	var among []part
	for _, p := range m.w.roles {
		if m.w.cfg.may(p) {
			among = append(among, p, p, p)
		}
	}
	for _, p := range m.w.servers {
		if m.w.cfg.may(p) {
			among = append(among, p, p)
		}
	}
	return among
}

// take takes one that is not broken already, if there is one.
func (m *mischief) take(among []part) part {
	if len(among) == 0 {
		return nil
	}
	first := m.rng.IntN(len(among))
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range among {
		if p := among[(first+i)%len(among)]; !m.busy[p] {
			m.busy[p] = true
			return p
		}
	}
	return nil
}

// later repairs a part after a while.
func (m *mischief) later(p part, d time.Duration, repair func() error) {
	m.repairs.Go(func() {
		time.Sleep(d)
		err := repair()
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.busy, p)
		if err != nil {
			m.errs = append(m.errs, err)
		}
	})
}

func (m *mischief) kill(round int) error {
	p := m.victim()
	if p == nil {
		return nil
	}
	m.killed++
	down, tear := m.upTo(1500*time.Millisecond), m.rng.IntN(2) == 0
	m.w.log.Info("kill", "round", round, "part", p.String(), "down", down.Round(time.Millisecond))
	if err := p.kill(); err != nil {
		return err
	}
	if dir := m.w.logs(p); dir != "" && tear {
		m.torn++
		if err := m.tearTail(dir); err != nil {
			return err
		}
	}
	m.later(p, down, p.start)
	return nil
}

// freeze stops a part for longer than its session lasts: others take over its
// work, and it comes back in the belief that nothing happened.
func (m *mischief) freeze(round int) error {
	p := m.victim()
	if p == nil {
		return nil
	}
	m.frozen++
	d := sessionTimeout + time.Second + m.upTo(3*time.Second)
	m.w.log.Info("freeze", "round", round, "part", p.String(), "for", d.Round(time.Millisecond))
	if err := p.freeze(); err != nil {
		return err
	}
	m.later(p, d, p.thaw)
	return nil
}

// fill leaves a server, or that of a name, no room on its disk for a while. Half of
// the time it crashes there too, with whatever it could write half.
func (m *mischief) fill(round int, name string) error {
	p := m.take(slices.DeleteFunc(slices.Clone(m.w.servers), func(p part) bool { return name != "" && p.String() != name }))
	if p == nil {
		return nil
	}
	m.full++
	disk, d, crash := m.w.disks[p.String()], time.Second+m.upTo(4*time.Second), m.rng.IntN(2) == 0
	down := 100*time.Millisecond + m.upTo(time.Second)
	m.w.log.Info("fill", "round", round, "server", p.String(), "for", d.Round(time.Millisecond), "crash", crash)
	if err := disk.fill(); err != nil {
		return err
	}
	m.later(p, d, func() error {
		if crash {
			if err := p.kill(); err != nil {
				return err
			}
		}
		if err := disk.room(); err != nil {
			return err
		}
		if !crash {
			return p.revive()
		}
		time.Sleep(down)
		if p, ok := p.(*process); ok {
			p.forgive() // it may have ended by itself before it was killed
		}
		return p.start()
	})
	return nil
}

// sever cuts all connections to a server, or lets nothing pass for a while.
func (m *mischief) sever(round int) error {
	names := serverNames()
	p := m.w.proxies[names[m.rng.IntN(len(names))]]
	m.cut++
	if m.rng.IntN(2) == 0 {
		d := m.upTo(2 * time.Second)
		m.w.log.Info("cut", "round", round, "server", p.name, "for", d.Round(time.Millisecond))
		return p.cut(d)
	}
	d := sessionTimeout + m.upTo(3*time.Second)
	m.w.log.Info("stall", "round", round, "server", p.name, "for", d.Round(time.Millisecond))
	p.stall()
	m.repairs.Go(func() {
		time.Sleep(d)
		p.flow()
	})
	return nil
}

// may says whether a part may be disturbed.
func (c Config) may(p part) bool {
	return len(c.only) == 0 || slices.ContainsFunc(c.only, func(name string) bool { return strings.HasPrefix(p.String(), name) })
}

// logs is where a server keeps files that it promises to open again when the last
// write to them was cut short: Kafka, embedded or real, its logs, and JetStream
// its blocks. ClickHouse renames what it has written to the end, so its files
// have no such tail.
func (w *world) logs(p part) string {
	switch p.String() {
	case "kafka":
		return w.kafkaData
	case "nats":
		return filepath.Join(w.data("nats"), "data")
	}
	return ""
}

// tearTail leaves at the end of a server's newest log what a write that was cut
// short leaves there: bytes that are no record. What it had acknowledged stands
// before them.
func (m *mischief) tearTail(dir string) error {
	var newest string
	var at time.Time
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		log := filepath.Ext(path) == ".blk" || strings.Contains(path, "stakeout.") && slices.Contains([]string{".dat", ".log"}, filepath.Ext(path))
		if err != nil || d.IsDir() || !log {
			return err
		}
		info, err := d.Info()
		if err == nil && info.ModTime().After(at) {
			newest, at = path, info.ModTime()
		}
		return err
	})
	if err != nil || newest == "" {
		return err
	}
	torn := make([]byte, 1+m.rng.IntN(300))
	for i := range torn {
		torn[i] = byte(m.rng.Uint32())
	}
	m.w.log.Info("tear", "file", newest, "bytes", len(torn))
	f, err := os.OpenFile(newest, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(torn)
	return errors.Join(err, f.Close())
}

// end waits until everything is repaired.
func (m *mischief) end() error {
	m.repairs.Wait()
	for _, p := range append(m.w.roles, m.w.servers...) {
		m.errs = append(m.errs, p.thaw())
		if p, ok := p.(*process); ok {
			m.errs = append(m.errs, p.start()) // where it fell
		}
	}
	return errors.Join(m.errs...)
}
