package command

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/stakeout-project/stakeout/deploy/local"
)

// TestBindWaits binds before triage has made anything: whoever waits says so
// once, without alarm.
func TestBindWaits(t *testing.T) {
	t.Parallel()
	n := startNATS(t, local.NATSConfig{})
	streams := func(role local.NATSRole) jetstream.JetStream {
		log, _ := noting(t)
		nc, err := Connect(as(n, role, ""), "test", log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	store, triage := streams(local.StoreRole), streams(local.TriageRole)
	log, said := noting(t)
	bound := make(chan error, 1)
	go func() {
		_, err := Bind(t.Context(), store, Actions, StoreConsumer, log)
		bound <- err
	}()
	wait(t, "it says what it waits for", func() bool { return strings.Contains(said.String(), "waiting for triage to make a consumer") })
	if err := Provision(t.Context(), triage, DefaultLayout()); err != nil {
		t.Fatal(err)
	}
	if err := <-bound; err != nil {
		t.Error(err)
	}
	if text := said.String(); strings.Contains(text, "level=WARN") || strings.Count(text, "\n") != 1 {
		t.Errorf("the log says more than that it waits:\n%s", text)
	}
}
