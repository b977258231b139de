package entity_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// session is the fact of an agent's first use of the credential of a session of its own: the
// most frequent one, of which each has names that no other has.
func session(no int) detect.Fact {
	id := func(kind string) string { return fmt.Sprintf("%s%025d", kind, no) }
	agent, at := fmt.Sprintf("coding-%04d", no%100), event.At(monday.Add(time.Duration(no)*time.Second+123456789))
	return detect.Fact{Kind: detect.CredentialFact, Entity: id("c"), Tenant: "tenant-2", Time: at, Latest: at, Event: id("e"), Agent: agent, Source: "stakeout.raw",
		Role: "coding", Session: id("s"), User: "ann.example", Credential: detect.Credential{ID: id("c"), Issuer: "https://idp.example", Subject: agent}, Known: true}
}

// alive is how many bytes of the heap are, once all else was collected.
func alive() float64 {
	runtime.GC()
	runtime.GC() // what the first one found that had to be closed
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// TestMemory holds what a fact that waits and what an entity takes to their bounds. A detect
// role may hold 32,768 facts for each partition of them, and 100,000 entities.
func TestMemory(t *testing.T) {
	const n = 30_000
	before := alive()
	q := entity.NewQueue(32_768)
	for i := range n {
		f := session(i)
		q.Add(&f, make([]byte, 24))
	}
	fact := (alive() - before) / n
	t.Logf("a fact that waits takes %.0f bytes", fact)
	if fact > 270 {
		t.Errorf("a fact that waits takes %.0f bytes, want 270 at most", fact)
	}
	for _, _, ok := q.Next(forever); ok; _, _, ok = q.Next(forever) {
	}
	f := session(n)
	q.Add(&f, nil)
	if left := (alive() - before) / n; left > 60 { // they are known when they come again
		t.Errorf("a fact that was given out takes %.0f bytes, want 60 at most", left)
	}
	runtime.KeepAlive(q)

	before = alive()
	e := entity.New(detect.DefaultRules())
	for i := range n {
		f := session(i)
		e.Observe(&f)
	}
	thing := (alive() - before) / n
	t.Logf("a credential takes %.0f bytes", thing)
	if thing > 410 {
		t.Errorf("a credential takes %.0f bytes, want 410 at most", thing)
	}
	runtime.KeepAlive(e)
}

// TestFactsThatStayPinNothing has one fact in fifty wait for long while the others come and
// go: those that wait must not keep what came with the others.
func TestFactsThatStayPinNothing(t *testing.T) {
	const each, n = 50, 50_000
	q := entity.NewQueue(2 * n / each)
	before := alive()
	for i := range n {
		f := session(i)
		if i%each == 0 {
			f.Latest = forever
		}
		q.Add(&f, nil)
		for _, _, ok := q.Next(forever - 1); ok; _, _, ok = q.Next(forever - 1) {
		}
	}
	if q.Len() != n/each {
		t.Fatalf("%d facts are held, want %d", q.Len(), n/each)
	}
	held := (alive() - before) / float64(q.Len())
	t.Logf("a fact that waits for long takes %.0f bytes", held)
	if held > 650 { // of up to two more for each, and four pages
		t.Errorf("a fact that waits for long takes %.0f bytes, want 650 at most", held)
	}
	runtime.KeepAlive(q)
}
