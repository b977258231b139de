package drill

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stakeout-project/stakeout/cmd/internal/simulate"
	"github.com/stakeout-project/stakeout/cmd/internal/stage"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// live has the other agents work, a third into it the attacks begin, and a
// gateway is asked all the time. It returns how many events a second went
// through ingest.
func (d *drill) live(ctx context.Context, a *attacks) (rate float64, err error) {
	first, err := d.passed(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	asking, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		d.knock(asking, a)
	}()
	g.Go(func() error { return d.load(ctx, start) })
	g.Go(func() error { return d.strike(ctx, a, start.Add(d.cfg.Load/3+a.lead)) })
	if err := g.Wait(); err != nil {
		stop()
		<-asked
		return 0, err
	}
	last, err := d.passed(ctx)
	elapsed := time.Since(start)
	if err == nil { // what was sent last has a second to be refused
		err = stage.Sleep(asking, time.Second)
	}
	stop()
	<-asked
	return float64(last-first) / elapsed.Seconds(), err
}

// passed is how many events have left ingest so far.
func (d *drill) passed(ctx context.Context) (n int64, err error) {
	offsets, err := d.stage.Client.Offsets(context.WithoutCancel(ctx), d.stage.App.Topics.Events)
	for _, at := range offsets {
		n += at.Next
	}
	return n, err
}

const pace = 10 * time.Millisecond // between two batches of the load

// load sends the work of a clean fleet as if it were done now, at the rate that
// was asked for or as near to it as Kafka takes it.
func (d *drill) load(ctx context.Context, start time.Time) error {
	if d.cfg.Rate == 0 {
		return stage.Sleep(ctx, time.Until(start.Add(d.cfg.Load)))
	}
	sender, err := d.stage.NewSender(ctx)
	if err != nil {
		return err
	}
	want := float64(d.cfg.Rate) * d.cfg.Load.Seconds()
	const agents = 1000
	fleet, err := simulate.New(simulate.Config{Agents: agents, Tenants: 2, Days: 1 + want/(agents*200), Rate: 240, Seed: d.cfg.Seed + 1, Start: start})
	if err != nil {
		return err
	}
	end := start.Add(d.cfg.Load)
	n := 0
	for ev := range fleet.Events() {
		now := time.Now()
		if due := start.Add(time.Duration(float64(n) / float64(d.cfg.Rate) * float64(time.Second))); due.After(now.Add(pace)) {
			if err := sender.Flush(ctx); err != nil {
				return err
			}
			if err := stage.Sleep(ctx, time.Until(due)); err != nil {
				return err
			}
			now = time.Now()
		}
		if now.After(end) {
			break
		}
		n++
		ev.Time, ev.ID = event.At(now), fmt.Sprintf("load-%d", n)
		ev.Agent, ev.Session = "load/"+ev.Agent, "load/"+ev.Session
		if err := sender.Send(ctx, ev); err != nil {
			return err
		}
	}
	return sender.Flush(ctx)
}

// strike sends the attacks' events, each by itself when its time has come.
func (d *drill) strike(ctx context.Context, a *attacks, zero time.Time) error {
	sender, err := d.stage.NewSender(ctx)
	if err != nil {
		return err
	}
	for _, e := range a.events {
		at := zero.Add(e.at)
		if wait := time.Until(at); wait > 0 {
			if err := stage.Sleep(ctx, wait); err != nil {
				return err
			}
		}
		e.ev.Time = event.At(at)
		d.mu.Lock()
		d.sent[e.ev.ID] = time.Now()
		d.mu.Unlock()
		if err := sender.Send(ctx, e.ev); err != nil {
			return err
		}
		if err := sender.Flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// knock asks for every attacked agent, a thousand times a second, whether it may
// send something, as a gateway does for each request, until ctx ends.
func (d *drill) knock(ctx context.Context, a *attacks) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, l := range a.labels {
			for _, agent := range l.Agents {
				if d.feed.Decide(agent).Allows(event.Send) {
					continue
				}
				d.mu.Lock()
				if _, again := d.refused[agent]; !again {
					d.refused[agent] = time.Now()
				}
				d.mu.Unlock()
			}
		}
	}
}
