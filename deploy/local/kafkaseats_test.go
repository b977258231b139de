package local

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// A member speaks to the group's coordinator as an older client does, which is
// told its id when the join is complete.
type member struct {
	t       *testing.T
	c       *kgo.Client
	id      string
	session time.Duration
}

const seatSession = minSession

func newMember(t *testing.T, k *Kafka) *member {
	return &member{t: t, c: testClient(t, k, kgo.MaxVersions(kversion.V0_11_0())), session: seatSession}
}

func (m *member) join(ctx context.Context) (*kmsg.JoinGroupResponse, error) {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = "g", m.id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(m.session.Milliseconds()), 60_000
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name = "range"
	req.Protocols = append(req.Protocols, protocol)
	resp, err := req.RequestWith(ctx, m.c)
	if err != nil {
		return nil, err
	}
	m.id = resp.MemberID
	return resp, kerr.ErrorForCode(resp.ErrorCode)
}

// lead joins, which it must be the leader of, and gives all that joined a share.
func (m *member) lead() (generation int32, members int) {
	m.t.Helper()
	joined, err := m.join(m.t.Context())
	if err != nil {
		m.t.Fatalf("join: %v", err)
	}
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.Generation, req.MemberID = "g", joined.Generation, m.id
	for _, other := range joined.Members {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID = other.MemberID
		req.GroupAssignment = append(req.GroupAssignment, a)
	}
	synced, err := req.RequestWith(m.t.Context(), m.c)
	if err != nil || synced.ErrorCode != 0 {
		m.t.Fatalf("sync: %v, %v", err, kerr.ErrorForCode(synced.ErrorCode))
	}
	return joined.Generation, len(joined.Members)
}

// beat is the group's answer to a heartbeat.
func (m *member) beat(generation int32) error {
	m.t.Helper()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.Generation, req.MemberID = "g", generation, m.id
	resp, err := req.RequestWith(m.t.Context(), m.c)
	if err != nil {
		m.t.Fatalf("heartbeat: %v", err)
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// told beats until the group answers with something else than that all is well.
func (m *member) told(generation int32, within time.Duration) error {
	m.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := m.beat(generation); err != nil {
			return err
		}
	}
	return nil
}

// TestKafkaEndsMembersKilledWhileJoining has processes die between their join and
// the answer: what the leader then gives them must become free again. There are
// several because the broker, left to itself, starts the session of every other one.
func TestKafkaEndsMembersKilledWhileJoining(t *testing.T) {
	const dead = 6
	k := startKafka(t, freeConfig(""))
	alive := newMember(t, k)
	generation, _ := alive.lead()

	ctx, kill := context.WithCancel(t.Context())
	answers := make(chan error, dead)
	var clients []*kgo.Client
	for range dead {
		m := newMember(t, k)
		clients = append(clients, m.c)
		go func() {
			_, err := m.join(ctx)
			answers <- err
		}()
	}
	wait(t, k, 1+dead)
	if err := alive.beat(generation); !errors.Is(err, kerr.RebalanceInProgress) {
		t.Fatalf("heartbeat while others join: %v", err)
	}
	kill()
	for _, c := range clients {
		c.Close()
		if err := <-answers; err == nil {
			t.Fatal("a join was answered before all had joined")
		}
	}

	generation, members := alive.lead()
	if members != 1+dead {
		t.Fatalf("%d members, want %d: the dead ones too, which the broker cannot know of yet", members, 1+dead)
	}
	end := time.Now().Add(seatSession + 10*time.Second)
	for members > 1 && time.Now().Before(end) {
		if err := alive.told(generation, time.Until(end)); err != nil {
			generation, members = alive.lead()
		}
	}
	if members != 1 {
		t.Fatalf("%d members, want the one that lives", members)
	}
	if err := alive.told(generation, 3*seatSession); err != nil {
		t.Errorf("a member that beats is told: %v", err)
	}
}

// TestKafkaKeepsMemberThatWaits has one member take longer to join again than the
// session of another that has, and that cannot be heard while it waits.
func TestKafkaKeepsMemberThatWaits(t *testing.T) {
	k := startKafka(t, freeConfig(""))
	slow, waiting, late := newMember(t, k), newMember(t, k), newMember(t, k)
	slow.lead()
	answers := make(chan error, 1)
	join := func(m *member) {
		go func() {
			_, err := m.join(t.Context())
			answers <- err
		}()
	}
	join(waiting)
	wait(t, k, 2)
	generation, _ := slow.lead()
	if err := <-answers; err != nil {
		t.Fatal(err)
	}

	join(late)
	wait(t, k, 3)
	join(waiting)
	for end := time.Now().Add(3 * seatSession); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := slow.beat(generation); !errors.Is(err, kerr.RebalanceInProgress) {
			t.Fatalf("heartbeat while others join: %v", err)
		}
	}
	if _, members := slow.lead(); members != 3 {
		t.Errorf("%d members, want 3", members)
	}
	for range 2 {
		if err := <-answers; err != nil {
			t.Errorf("join: %v", err)
		}
	}
}

// TestKafkaRefusesSessions: what is asked for is judged, not what it is made.
func TestKafkaRefusesSessions(t *testing.T) {
	m := newMember(t, startKafka(t, freeConfig("")))
	for _, session := range []time.Duration{-time.Second, 0, minSession - time.Millisecond, maxSession + time.Millisecond} {
		m.session = session
		if _, err := m.join(t.Context()); !errors.Is(err, kerr.InvalidSessionTimeout) {
			t.Errorf("a session timeout of %s: %v", session, err)
		}
	}
	m.session = maxSession
	if _, err := m.join(t.Context()); err != nil {
		t.Errorf("a session timeout of %s: %v", m.session, err)
	}
}

// wait returns when the group has that many members.
func wait(t *testing.T, k *Kafka, members int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := k.cluster.WaitGroupInfo(ctx, "g", func(g *kfake.GroupInfo) bool { return g != nil && len(g.Members) == members }); err != nil {
		t.Fatalf("wait for %d members: %v", members, err)
	}
}

func TestSeats(t *testing.T) {
	start := time.Unix(0, 0)
	s := &seats{groups: map[string]*seating{}}
	at := func(after time.Duration, req kmsg.Request) { s.observe(req, start.Add(after)) }
	silent := func(after time.Duration, want ...string) {
		t.Helper()
		var got []string
		for _, m := range s.silent(start.Add(after))["g"] {
			got = append(got, m.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("silent after %s (-want +got):\n%s", after, diff)
		}
	}
	assignments := []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "a"}, {MemberID: "b"}}
	at(0, &kmsg.HeartbeatRequest{Group: "other", MemberID: "a"})
	at(0, &kmsg.SyncGroupRequest{Group: "other", MemberID: "a", GroupAssignment: assignments})
	at(0, &kmsg.JoinGroupRequest{Group: "g", SessionTimeoutMillis: 3_000})
	at(time.Second, &kmsg.SyncGroupRequest{Group: "g", MemberID: "a", GroupAssignment: assignments})
	silent(4 * time.Second)
	at(4*time.Second, &kmsg.HeartbeatRequest{Group: "g", MemberID: "a"})
	at(4*time.Second, &kmsg.HeartbeatRequest{Group: "g", MemberID: "stranger"})
	silent(6*time.Second, "b")
	silent(7*time.Second, "b") // it stays so until it has left
	at(7*time.Second, &kmsg.LeaveGroupRequest{Group: "g", Members: []kmsg.LeaveGroupRequestMember{{MemberID: "b"}}})
	silent(7 * time.Second)
	at(8*time.Second, &kmsg.JoinGroupRequest{Group: "g", MemberID: "a", SessionTimeoutMillis: 3_000})
	silent(time.Hour) // who waits for the others to join is silent
	at(time.Hour, &kmsg.SyncGroupRequest{Group: "g", MemberID: "a", GroupAssignment: assignments[:1]})
	silent(time.Hour+5*time.Second, "a")
	at(time.Hour, &kmsg.LeaveGroupRequest{Group: "g", MemberID: "a"})
	silent(2 * time.Hour)
}
