package app

import (
	"strconv"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/deploy/apart"
	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// BenchmarkParts is the CPU that the parts of the detect role cost by themselves, with the
// same known agents as [BenchmarkRole] and no broker: to read an event, to judge and
// learn it, and to encode a profile.
func BenchmarkParts(b *testing.B) {
	const agents, each = 100_000, 10
	c := newCrowd(b)
	var lines [][]byte
	events := make([]event.Event, each*len(c.names))
	for i := range each {
		for _, of := range c.names {
			line := c.later[of][i%len(c.later[of])]
			check(b, events[len(lines)].UnmarshalJSON(line))
			lines = append(lines, line)
		}
	}
	b.Run("decode", func(b *testing.B) {
		var d event.Decoder
		var ev event.Event
		var spent time.Duration
		for b.Loop() {
			spent -= apart.CPU(b)
			for n := range 100 * len(lines) {
				if err := d.Decode(lines[n%len(lines)], &ev); err != nil { // check would add a quarter to it
					b.Fatal(err)
				}
			}
			spent += apart.CPU(b)
		}
		b.ReportMetric(float64(spent)/float64(b.N*100*len(lines)), "cpu-ns/event")
		b.ReportMetric(0, "ns/op")
	})

	names, keys, ids := make([]string, agents), make([][]byte, agents), make([]string, each)
	for n := range names {
		_, names[n] = c.name(n)
		keys[n] = []byte(names[n])
	}
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	b.Run("observe", func(b *testing.B) {
		var ev event.Event
		var spent, encoded time.Duration
		facts := 0
		for b.Loop() {
			engine, offset := detect.New(detect.DefaultRules()), int64(c.longest)
			for n, name := range names {
				of, _ := c.name(n)
				check(b, engine.Restore(name, c.profiles[of]))
			}
			spent -= apart.CPU(b)
			for n := range agents * each {
				who, i := n%agents, n/agents
				if who%ahead == 0 {
					for _, key := range keys[who : who+ahead] {
						engine.Prefetch(key)
					}
				}
				ev = events[i*len(c.names)+who%len(c.names)]
				ev.Agent, ev.ID = names[who], ids[i]
				engine.Observe(&ev, offset, event.Source{Topic: "stakeout.raw", Offset: offset})
				facts += len(engine.Facts())
				offset++
			}
			spent += apart.CPU(b)
			encoded -= apart.CPU(b)
			for range engine.Changed() {
			}
			encoded += apart.CPU(b)
		}
		n := float64(b.N * agents * each)
		b.ReportMetric(float64(spent)/n, "cpu-ns/event")
		b.ReportMetric(float64(encoded)/float64(b.N*agents), "cpu-ns/profile")
		b.ReportMetric(float64(facts)/n, "facts/event")
		b.ReportMetric(0, "ns/op")
	})
}
