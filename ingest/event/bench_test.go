package event

import (
	"encoding/json"
	"reflect"
	"testing"
)

// size returns how many bytes a line of the corpus has on average.
func size(lines [][]byte) int64 {
	n := 0
	for _, l := range lines {
		n += len(l)
	}
	return int64(n / len(lines))
}

func BenchmarkDecode(b *testing.B) {
	lines := corpus(b)
	b.Run("ours", func(b *testing.B) {
		var d Decoder
		var ev Event
		b.SetBytes(size(lines))
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if err := d.Decode(lines[i%len(lines)], &ev); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		t := plainEvent()
		b.SetBytes(size(lines))
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if err := json.Unmarshal(lines[i%len(lines)], reflect.New(t).Interface()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	lines := corpus(b)
	events := make([]Event, len(lines))
	for i, line := range lines {
		if err := new(Decoder).Decode(line, &events[i]); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("ours", func(b *testing.B) {
		var buf []byte
		b.SetBytes(size(lines))
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			buf = events[i%len(events)].AppendJSON(buf[:0])
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		t := plainEvent()
		plain := make([]any, len(lines))
		for i, line := range lines {
			plain[i] = reflect.New(t).Interface()
			if err := json.Unmarshal(line, plain[i]); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(size(lines))
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := json.Marshal(plain[i%len(plain)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFieldOf(b *testing.B) {
	names := FieldNames()
	for i := 0; b.Loop(); i++ {
		fieldOf(names[i%len(names)])
	}
}
