package local

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	seatInterval = 250 * time.Millisecond // how often silence is looked for

	// The session timeouts that the broker takes.
	minSession = time.Second
	maxSession = 30 * time.Minute
)

// seats ends the sessions of silent members of consumer groups in the broker's
// place, which has two faults there. It starts a session when it has answered a
// join; a member whose connection is gone by then gets no answer, no session, and
// so no end: a process killed while it joins keeps its partitions until the group
// changes for another reason. And it goes on counting while a member waits for the
// others to join, when that member has no way to be heard: it is dropped without
// an answer. So the broker is told of longer sessions than are asked for. Who has
// a seat is known from what a group's leader assigns.
type seats struct {
	mu     sync.Mutex
	groups map[string]*seating
}

// A seating is one group as its last leaders assigned it.
type seating struct {
	session time.Duration        // the longest that a member asked for
	heard   map[string]time.Time // when each member that has a seat was heard last
}

// watchSeats watches a cluster's groups until ctx ends. The address is where it
// listens, whatever it tells its clients.
func watchSeats(ctx context.Context, cluster *kfake.Cluster, addr net.Addr, log *slog.Logger) {
	s := &seats{groups: map[string]*seating{}}
	for _, key := range [...]kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.LeaveGroup} {
		cluster.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			s.observe(req, time.Now())
			if join, ok := req.(*kmsg.JoinGroupRequest); ok {
				prolong(join)
			}
			return nil, nil, false
		})
	}
	go s.run(ctx, addr, log)
}

// prolong leaves the broker's own end of a session as a backstop: of members that
// it knows from before it was started again.
func prolong(r *kmsg.JoinGroupRequest) {
	limit := int32(maxSession.Milliseconds())
	if asked := r.SessionTimeoutMillis; asked >= int32(minSession.Milliseconds()) && asked < limit {
		r.SessionTimeoutMillis = asked + min(max(asked, r.RebalanceTimeoutMillis), limit-asked)
	}
}

// observe takes in what a member of a group says of itself.
func (s *seats) observe(req kmsg.Request, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r := req.(type) {
	case *kmsg.JoinGroupRequest:
		g := s.groups[r.Group]
		if g == nil {
			g = &seating{heard: map[string]time.Time{}}
			s.groups[r.Group] = g
		}
		g.session = max(g.session, time.Duration(r.SessionTimeoutMillis)*time.Millisecond)
		delete(g.heard, r.MemberID) // it may now be silent until all have joined
	case *kmsg.SyncGroupRequest:
		g := s.groups[r.Group]
		if g == nil {
			return
		}
		g.hear(r.MemberID, now)
		for _, a := range r.GroupAssignment {
			g.heard[a.MemberID] = now
		}
	case *kmsg.HeartbeatRequest:
		if g := s.groups[r.Group]; g != nil {
			g.hear(r.MemberID, now)
		}
	case *kmsg.LeaveGroupRequest:
		if g := s.groups[r.Group]; g != nil {
			delete(g.heard, r.MemberID)
			for _, m := range r.Members {
				delete(g.heard, m.MemberID)
			}
		}
	}
}

func (g *seating) hear(member string, now time.Time) {
	if _, ok := g.heard[member]; ok {
		g.heard[member] = now
	}
}

// silent returns the members of each group that the broker should have ended.
func (s *seats) silent(now time.Time) map[string][]kafka.LeaveGroupRequestMember {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string][]kafka.LeaveGroupRequestMember{}
	for name, g := range s.groups {
		for id, at := range g.heard {
			if now.Sub(at) > g.session {
				found[name] = append(found[name], kafka.LeaveGroupRequestMember{ID: id})
			}
		}
	}
	return found
}

// run has silent members leave, as a client: what the broker knows of its groups
// is its own. Those that have ended properly are no longer known to it.
func (s *seats) run(ctx context.Context, addr net.Addr, log *slog.Logger) {
	transport := &kafka.Transport{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, addr.Network(), addr.String())
	}}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: addr, Transport: transport, Timeout: 5 * time.Second}
	tick := time.NewTicker(seatInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for group, members := range s.silent(time.Now()) {
			resp, err := client.LeaveGroup(ctx, &kafka.LeaveGroupRequest{GroupID: group, Members: members})
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				err = resp.Error
			}
			if err != nil {
				log.Warn("embedded kafka: a silent member keeps its seat", "group", group, "err", err)
				continue // the next tick tries again
			}
			for _, m := range resp.Members {
				if !errors.Is(m.Error, kafka.UnknownMemberId) {
					log.Warn("embedded kafka: the seat of a silent member is given up", "group", group, "member", m.ID, "err", m.Error)
				}
			}
		}
	}
}
