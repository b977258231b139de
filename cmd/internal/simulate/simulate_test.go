package simulate

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// small is a fleet that every test can afford: three days, the attacks in the last two.
func small() Config {
	cfg := DefaultConfig()
	cfg.Agents, cfg.Days, cfg.AttackFrom = 48, 3, day
	return cfg
}

func fleet(t testing.TB, cfg Config) *Fleet {
	t.Helper()
	f, err := New(cfg)
	if err != nil {
		t.Fatalf("New(%+v): %v", cfg, err)
	}
	return f
}

func live(t testing.TB, f *Fleet, cfg LiveConfig) iter.Seq[*event.Event] {
	t.Helper()
	events, err := f.Live(cfg)
	if err != nil {
		t.Fatalf("Live(%+v): %v", cfg, err)
	}
	return events
}

// lines returns the events as JSON lines.
func lines(events iter.Seq[*event.Event]) []string {
	var all []string
	for ev := range events {
		all = append(all, string(ev.AppendJSON(nil)))
	}
	return all
}

func digest(lines []string) string {
	sum := sha256.New()
	for _, line := range lines {
		sum.Write([]byte(line))
		sum.Write([]byte{'\n'})
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

func TestConfig(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default configuration is refused: %v", err)
	}
	f := func(want string, edit func(c *Config)) {
		t.Helper()
		c := DefaultConfig()
		edit(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Validate() = %v, want an error that begins with %q", err, want)
		}
		if _, err := New(c); err == nil {
			t.Errorf("New takes what Validate refuses with %q", want)
		}
	}
	f("agents: is 0", func(c *Config) { c.Agents = 0 })
	f("tenants: is 0", func(c *Config) { c.Tenants = 0 })
	f("days: is -1", func(c *Config) { c.Days = -1 })
	f("rate: is 0", func(c *Config) { c.Rate = 0 })
	f("start: is 0001", func(c *Config) { c.Start = time.Time{} })
	f("injections: is -1", func(c *Config) { c.Injections = -1 })
	f("attack_from: is 672h0m0s", func(c *Config) { c.AttackFrom = 28 * day })
	f("disorder: is 2", func(c *Config) { c.Disorder = 2 })
	f(`threats: has "gremlins"`, func(c *Config) { c.Threats = []string{"gremlins"} })
}

func TestLiveConfig(t *testing.T) {
	now := time.Date(2026, 2, 2, 9, 0, 0, 0, time.UTC)
	if err := DefaultLiveConfig(now).Validate(); err != nil {
		t.Errorf("the default configuration is refused: %v", err)
	}
	quiet := fleet(t, small())
	f := func(want string, edit func(c *LiveConfig)) {
		t.Helper()
		c := DefaultLiveConfig(now)
		edit(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Validate() = %v, want an error that begins with %q", err, want)
		}
		if _, err := quiet.Live(c); err == nil {
			t.Errorf("Live takes what Validate refuses with %q", want)
		}
	}
	f("from: is 0001", func(c *LiveConfig) { c.From = time.Time{} })
	f("duration: is 0s", func(c *LiveConfig) { c.Duration = 0 })
	f("sessions: is -1", func(c *LiveConfig) { c.Sessions = -1 })
	f("injections: is -1", func(c *LiveConfig) { c.Injections = -1 })
	f(`threats: has "gremlins"`, func(c *LiveConfig) { c.Threats = []string{"gremlins"} })
}

// The output is part of the promise: whoever changes the simulator changes these on purpose.
func TestGolden(t *testing.T) {
	cfg := small()
	f := fleet(t, cfg)
	history := lines(f.Events())
	now := lines(live(t, f, DefaultLiveConfig(cfg.Start.Add(3*day))))
	cfg.Disorder = 0.03
	disordered := lines(fleet(t, cfg).Events())

	got := map[string]string{"history": digest(history), "live": digest(now), "disordered": digest(disordered)}
	want := map[string]string{"history": "541c4caa5346e8d7", "live": "98144ed460c85346", "disordered": "d4e8c45645cbb61b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%d, %d and %d events differ from the golden ones (-want +got):\n%s", len(history), len(now), len(disordered), diff)
	}
}

func TestSameEventsEachTime(t *testing.T) {
	f := fleet(t, small())
	first, labels := digest(lines(f.Events())), f.Labels()
	phase := DefaultLiveConfig(small().Start.Add(3 * day))
	once := digest(lines(live(t, f, phase)))

	for ev := range f.Events() { // left half way
		if ev.Time > event.At(small().Start.Add(36*time.Hour)) {
			break
		}
	}
	if got := digest(lines(f.Events())); got != first {
		t.Errorf("a later iteration gives %s, the first gave %s", got, first)
	}
	if diff := cmp.Diff(labels, f.Labels()); diff != "" {
		t.Errorf("labels differ (-first +later):\n%s", diff)
	}
	if got := digest(lines(live(t, f, phase))); got != once {
		t.Errorf("the live phase after it gives %s, the first gave %s", got, once)
	}
	if got := digest(lines(live(t, fleet(t, small()), phase))); got != once {
		t.Errorf("without having iterated the history, the live phase gives %s, want %s", got, once)
	}
	if got := digest(lines(live(t, f, phase))); got == once {
		t.Error("a second live phase repeats the first")
	}
}

func TestOtherSeedOtherFleet(t *testing.T) {
	cfg := small()
	first := digest(lines(fleet(t, cfg).Events()))
	cfg.Seed++
	if digest(lines(fleet(t, cfg).Events())) == first {
		t.Error("two seeds give the same events")
	}
}

func TestAttacksLeaveTheRestAlone(t *testing.T) {
	cfg := small()
	f := fleet(t, cfg)
	attacked := lines(f.Events())
	cfg.Threats = nil
	quiet := fleet(t, cfg)
	benign := lines(quiet.Events())
	if labels := quiet.Labels(); len(labels) != 0 {
		t.Errorf("a fleet left in peace has labels: %+v", labels)
	}
	var rest []string
	written := sessions(f.Labels())
	for _, line := range attacked {
		if ev := decode(t, line); !written[ev.Session] || ev.Session == "" {
			rest = append(rest, line)
		}
	}
	if diff := cmp.Diff(benign, rest); diff != "" {
		t.Errorf("benign events differ when attacks go on (-in peace +attacked):\n%s", diff)
	}
}

func TestMoreAgentsLeaveTheRestAlone(t *testing.T) {
	cfg := small()
	cfg.Threats, cfg.Agents = nil, 20
	few := lines(fleet(t, cfg).Events())
	known := map[string]bool{}
	for _, line := range few {
		known[decode(t, line).Agent] = true
	}
	cfg.Agents = 40
	var same []string
	for _, line := range lines(fleet(t, cfg).Events()) {
		if known[decode(t, line).Agent] {
			same = append(same, line)
		}
	}
	if diff := cmp.Diff(few, same); diff != "" {
		t.Errorf("events of the first 20 agents differ when there are 40 (-20 +40):\n%s", diff)
	}
}

func TestWorkday(t *testing.T) {
	for _, s := range []string{"2026-01-03T23:59:59Z", "2026-01-06T10:00:00Z", "2026-07-08T00:00:00+09:00"} {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		if local := at.UTC().Add(WorkdayAt(at) + zone(0)); local.Weekday() != time.Tuesday || local.Hour() != 15 || local.Minute() != 0 {
			t.Errorf("WorkdayAt(%s) makes it %s for the fleet, want a Tuesday at 15:00", s, local.Format("Mon 15:04"))
		}
	}
}

// A fleet too small for an attack goes without it.
func TestTinyAndBusyFleets(t *testing.T) {
	for agents := range 10 {
		cfg := DefaultConfig()
		cfg.Agents, cfg.Days, cfg.AttackFrom = agents+1, 1, 12*time.Hour
		if agents == 0 {
			cfg.Rate = 5000
		}
		f := fleet(t, cfg)
		n := len(lines(f.Events()))
		if least := cfg.Agents * int(cfg.Rate) / 3; n < least {
			t.Errorf("%d events of %d agents, want at least %d", n, cfg.Agents, least)
		}
		for _, l := range f.Labels() {
			if l.Variant == "foreign" && agents == 0 {
				t.Errorf("the only agent acts on a foreign credential")
			}
		}
		if len(lines(live(t, f, DefaultLiveConfig(cfg.Start.Add(day))))) == 0 {
			t.Error("nothing happens live")
		}
	}
}

func TestMemoryIsThatOfTheAgents(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Agents, cfg.Days, cfg.Threats = 10_000, 0.6, nil
	f := fleet(t, cfg)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most, n := heap(), uint64(0), 0
	for range f.Events() {
		if n++; n%200_000 == 0 {
			most = max(most, heap())
		}
	}
	const perAgent = 2500
	if got := int(most-before) / cfg.Agents; got > perAgent {
		t.Errorf("%d events of %d agents take %d bytes per agent, want at most %d", n, cfg.Agents, got, perAgent)
	}
}

func BenchmarkEvents(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Agents, cfg.Days = 1000, 10
	f := fleet(b, cfg)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for range f.Events() {
			n++
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkEventsJSON(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Agents, cfg.Days = 1000, 2
	f := fleet(b, cfg)
	b.ReportAllocs()
	n, size := 0, 0
	var line []byte
	for b.Loop() {
		for ev := range f.Events() {
			line = ev.AppendJSON(line[:0])
			size += len(line)
			n++
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(size)/float64(n), "B/event")
}
