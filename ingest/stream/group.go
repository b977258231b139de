package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// leaveTimeout is how long leaving a group may take after its last checkpoints.
const leaveTimeout = 3 * time.Second

// Run consumes as a member of a group until ctx ends, and then returns nil: the
// partitions it owns have been checkpointed and given up, and all goroutines
// have ended. A partition is owned until ctx ends or the group gives it to
// another member. An error of its processor closes the processor and opens the
// partition again from its last commit; the assignment is kept.
//
// A topic that does not exist is waited for. Only a group that cannot be joined
// by any retry is an error.
func (c *Client) Run(ctx context.Context, g Group, open Opener) error {
	for _, topic := range g.Topics {
		if _, err := c.Partitions(ctx, topic); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("run group %s: %w", g.Name, err)
		}
	}
	conns := &connections{open: map[net.Conn]struct{}{}}
	dialer := c.dialer
	dialer.DialFunc = conns.dial
	cg, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                     g.Name,
		Brokers:                c.cfg.Brokers,
		Dialer:                 &dialer,
		Topics:                 g.Topics,
		HeartbeatInterval:      c.cfg.HeartbeatInterval,
		SessionTimeout:         c.cfg.SessionTimeout,
		RebalanceTimeout:       c.cfg.RebalanceTimeout,
		JoinGroupBackoff:       time.Second,
		WatchPartitionChanges:  true,
		PartitionWatchInterval: max(c.cfg.HeartbeatInterval, time.Second),
		StartOffset:            kafka.FirstOffset,
		Timeout:                c.cfg.RequestTimeout,
	})
	if err != nil {
		return fmt.Errorf("run group %s: %w", g.Name, err)
	}

	var owners sync.WaitGroup
	what := "join group " + g.Name
	for ctx.Err() == nil {
		gen, err := cg.Next(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			c.trouble(what, c.cause(ctx, err))
			continue // it waits a second before it tries again
		}
		c.recovered(what)
		c.metrics.rebalances.WithLabelValues(g.Name).Inc()
		c.start(ctx, g, gen, open, &owners)
	}
	c.recovered(what)

	// Closing ends the generation, which waits for its owners. What it may also
	// wait for is the group's other members, while it joins: not for ever.
	t := time.AfterFunc(c.cfg.drain()+leaveTimeout, conns.close)
	defer t.Stop()
	if err := cg.Close(); err != nil {
		return fmt.Errorf("leave group %s: %w", g.Name, err)
	}
	owners.Wait()
	return nil
}

// start sets one goroutine to work on each partition of a generation.
func (c *Client) start(ctx context.Context, g Group, gen *kafka.Generation, open Opener, owners *sync.WaitGroup) {
	n := 0
	for topic, partitions := range gen.Assignments {
		for _, p := range partitions {
			o := &owner{
				c: c, group: g.Name, gen: gen, open: open,
				topic: topic, partition: p.ID, committed: p.Offset, notes: g.Progress,
				log: c.log.With("group", g.Name, "topic", topic, "partition", p.ID, "generation", gen.ID),
			}
			n++
			owners.Add(1)
			gen.Start(func(ended context.Context) {
				defer owners.Done()
				// The generation's context has no values and costs a goroutine
				// per derived one, so it only cancels one of ours.
				own, cancel := context.WithCancel(context.WithoutCancel(ctx))
				defer cancel()
				defer context.AfterFunc(ended, cancel)()
				o.run(own)
			})
		}
	}
	c.log.Info("joined group", "group", g.Name, "generation", gen.ID, "partitions", n)
}

// connections are those of a group's membership, so that a join can be
// abandoned: kafka-go waits for it without a context.
type connections struct {
	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

func (s *connections) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	s.open[conn] = struct{}{}
	return &trackedConn{Conn: conn, set: s}, nil
}

// close breaks the connections there are and refuses new ones.
func (s *connections) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.open {
		// The reads and writes under way fail; their owner closes the connection.
		if err := conn.SetDeadline(time.Unix(1, 0)); err != nil {
			delete(s.open, conn)
		}
	}
}

type trackedConn struct {
	net.Conn
	set *connections
}

func (c *trackedConn) Close() error {
	c.set.mu.Lock()
	delete(c.set.open, c.Conn)
	c.set.mu.Unlock()
	return c.Conn.Close()
}
