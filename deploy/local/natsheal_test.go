package local

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// withStream starts a server in dir that has one stream.
func withStream(t *testing.T, dir string) (*NATS, jetstream.JetStream) {
	t.Helper()
	n := startNATS(t, dir)
	nc, _ := connect(t, n, TriageRole)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ACTIONS", Subjects: []string{"stakeout.action.>"}}); err != nil {
		t.Fatal(err)
	}
	return n, js
}

// TestAilmentLeavesStreamsThatAreMade looks at a real server while the directory of a stream is
// there and the stream is not, as it is while one is made.
func TestAilmentLeavesStreamsThatAreMade(t *testing.T) {
	dir := t.TempDir()
	n, _ := withStream(t, dir)
	a := ailment{patience: patience}
	if a.look(n.server.Healthz(nil)) || a.reason != "" {
		t.Fatalf("a server that is well: %+v", a)
	}
	found, err := filepath.Glob(filepath.Join(dir, "data", "jetstream", "*", "streams"))
	if err != nil || len(found) != 1 {
		t.Fatalf("directories of streams: %v, %v", found, err)
	}
	made := filepath.Join(found[0], "MADE")
	if err := os.Mkdir(made, 0o700); err != nil {
		t.Fatal(err)
	}
	for range patience - 1 {
		if a.look(n.server.Healthz(nil)) {
			t.Fatalf("JetStream is to be opened again after %+v", a)
		}
	}
	if a.reason == "" {
		t.Error("the server does not tell of the stream, so this shows nothing")
	}
	if err := os.Remove(made); err != nil {
		t.Fatal(err)
	}
	if a.look(n.server.Healthz(nil)) || a.reason != "" {
		t.Errorf("it is made, and %+v", a)
	}
}

// TestAilmentIsTreated has JetStream off: it is opened again, and what was in it is there.
func TestAilmentIsTreated(t *testing.T) {
	dir := t.TempDir()
	n, js := withStream(t, dir)
	n.stop() // we look ourselves
	n.healer.Wait()
	if err := n.server.ShutdownJetStream(); err != nil {
		t.Fatal(err)
	}
	a, looks := ailment{patience: patience}, 1
	for !a.look(n.server.Healthz(nil)) && looks < 2*patience {
		looks++
	}
	if looks != patience {
		t.Errorf("opened again after %d looks, want %d", looks, patience)
	}
	if err := reopen(n.server, filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Stream(t.Context(), "ACTIONS"); err != nil || a.look(n.server.Healthz(nil)) || a.reason != "" {
		t.Errorf("opened again: %v, %+v", err, a)
	}
}

// TestAilmentWaits looks at what is not to be treated at once, or again and again.
func TestAilmentWaits(t *testing.T) {
	lost := func(stream string) *server.HealthStatus {
		return &server.HealthStatus{Status: "unavailable", Error: stream + " could not be recovered"}
	}
	a := ailment{patience: patience}
	for i := range 10 * patience {
		if a.look(lost([]string{"A", "B"}[i%2])) {
			t.Fatal("one stream after the other is made, and JetStream is to be opened again")
		}
	}
	for range 10 * patience {
		if a.look(&server.HealthStatus{Status: "error", Error: "failed to be ready for connections after 1ms: "}) {
			t.Fatal("the server did not answer at once, and JetStream is to be opened again")
		}
	}
	opened := 0
	for range 1000 { // a stream that opening does not bring back
		if a.look(lost("A")) {
			a.treated()
			opened++
		}
	}
	if opened < 5 || opened > 9 {
		t.Errorf("opened %d times in 1,000 looks, want ever less often", opened)
	}
	if a.look(&server.HealthStatus{Status: "ok"}); a.patience != patience {
		t.Errorf("all is well, and it waits for %d looks", a.patience)
	}
}
