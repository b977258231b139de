package stream

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/stakeout-project/stakeout/deploy/apart"
)

func TestMain(m *testing.M) { os.Exit(apart.Main(m)) }

// kilobyte is a JSON line of 1 KB, half of which a codec can save.
func kilobyte() []byte {
	b := []byte(`{"time":"2026-01-01T00:00:00Z","gen_ai.agent.id":"agent-1","gen_ai.tool.name":"read_file","pad":"`)
	for len(b) < 510 {
		b = append(b, "0123456789abcdef"[rand.IntN(16)])
	}
	return append(append(b, strings.Repeat("p", 1022-len(b))...), `"}`...)
}

func fill(b *testing.B, c *Client, topic string, n int) {
	b.Helper()
	p := testProducer(b, c)
	for i := range n {
		p.Append(topic, 0, fmt.Append(nil, i%1000), kilobyte())
		if i%10_000 == 9_999 {
			if err := p.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := p.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkConsume(b *testing.B) {
	const n = 50_000
	addr := apart.Start(b)
	for _, codec := range []string{"none", "lz4", "zstd", "snappy"} {
		c := testClient(b, addr, func(cfg *Config) { cfg.Compression = codec })
		topic := "consume-" + codec
		if err := c.EnsureTopics(b.Context(), Topic{Name: topic, Partitions: 1}); err != nil {
			b.Fatal(err)
		}
		fill(b, c, topic, n)
		run := func(name string, read func(r *reader) error) {
			b.Run(codec+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				before := apart.CPU(b)
				for b.Loop() {
					r := c.newReader(topic, 0, 0)
					for r.next < n {
						if _, err := r.fetch(b.Context()); err != nil {
							b.Fatal(err)
						}
						if err := read(r); err != nil {
							b.Fatal(err)
						}
					}
					r.release()
				}
				b.ReportMetric(float64(apart.CPU(b)-before)/float64(b.N)/n, "cpu-ns/record")
				b.ReportMetric(float64(b.Elapsed())/float64(b.N)/n, "ns/record")
			})
		}
		run("records", func(r *reader) error { return r.each(n, func(*Record) error { return nil }) })
		if codec != "none" {
			continue
		}
		// The floor: the bytes arrive and nobody looks inside.
		run("floor", func(r *reader) error {
			perBatch := int64(0)
			for raw := r.set.b; len(raw) >= batchHeader; {
				size := int(uint32(raw[8])<<24|uint32(raw[9])<<16|uint32(raw[10])<<8|uint32(raw[11])) + batchPrefix
				if size > len(raw) {
					break
				}
				perBatch += int64(uint32(raw[57])<<24 | uint32(raw[58])<<16 | uint32(raw[59])<<8 | uint32(raw[60]))
				raw = raw[size:]
			}
			r.next += perBatch
			return nil
		})
	}
}

func BenchmarkProduce(b *testing.B) {
	const n = 10_000
	addr := apart.Start(b)
	key := []byte("agent-1")
	var values [251][]byte
	for i := range values {
		values[i] = kilobyte()
	}
	for _, codec := range []string{"none", "lz4", "zstd", "snappy"} {
		b.Run(codec, func(b *testing.B) {
			c := testClient(b, addr, func(cfg *Config) { cfg.Compression = codec })
			topic := "produce-" + codec
			if err := c.EnsureTopics(b.Context(), Topic{Name: topic, Partitions: 4, Settings: map[string]string{"retention.bytes": "10000000"}}); err != nil {
				b.Fatal(err)
			}
			p := testProducer(b, c)
			if err := p.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			before := apart.CPU(b)
			for b.Loop() {
				for i := range n {
					p.Append(topic, i&3, key, values[i%len(values)])
				}
				if err := p.Flush(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(apart.CPU(b)-before)/float64(b.N)/n, "cpu-ns/record")
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/n, "ns/record")
		})
	}
}

// BenchmarkDecode is one record out of a set of a thousand, 1 KB each.
func BenchmarkDecode(b *testing.B) {
	var vs []string
	for range 1000 {
		vs = append(vs, string(kilobyte()))
	}
	for name, codec := range map[string]uint16{"none": codecNone, "lz4": codecLZ4, "zstd": codecZstd, "snappy": codecSnappy} {
		b.Run(name, func(b *testing.B) {
			set := wire(b, 0, codec, nil, vs...)
			var d decoder
			b.ReportAllocs()
			for b.Loop() {
				d.reset(set, 0, nil)
				for n := 0; ; {
					records, err := d.next()
					if err != nil {
						b.Fatal(err)
					}
					if n += len(records); len(records) == 0 {
						break
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(len(vs)), "ns/record")
		})
	}
}
