package event

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// corpus returns the lines of testdata/events.jsonl, or of every *.jsonl.gz in
// the directory that STAKEOUT_TRACES names, label files left aside.
func corpus(t testing.TB) [][]byte {
	t.Helper()
	var lines [][]byte
	read := func(r io.Reader) {
		s := bufio.NewScanner(r)
		s.Buffer(nil, MaxLine)
		for s.Scan() {
			lines = append(lines, bytes.Clone(s.Bytes()))
		}
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
	}
	dir := os.Getenv("STAKEOUT_TRACES")
	if dir == "" {
		b, err := os.ReadFile("testdata/events.jsonl")
		if err != nil {
			t.Fatal(err)
		}
		read(bytes.NewReader(b))
		return lines
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if labels, err := filepath.Match("*.labels.jsonl.gz", filepath.Base(name)); err != nil || labels {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		read(z)
	}
	if len(lines) == 0 {
		t.Fatalf("STAKEOUT_TRACES: %s holds no *.jsonl.gz", dir)
	}
	return lines
}

// plainEvent is Event as one would write it for encoding/json, made from the
// type so that it cannot fall behind: optional numbers are pointers, objects
// are maps, times are whatever stands there.
func plainEvent() reflect.Type {
	swap := map[reflect.Type]reflect.Type{
		reflect.TypeFor[Timestamp]():        reflect.TypeFor[any](),
		reflect.TypeFor[Opt[int64]]():       reflect.TypeFor[*int64](),
		reflect.TypeFor[Opt[float64]]():     reflect.TypeFor[*float64](),
		reflect.TypeFor[Object[Origin]]():   reflect.TypeFor[map[string]Origin](),
		reflect.TypeFor[Object[string]]():   reflect.TypeFor[map[string]string](),
		reflect.TypeFor[Object[[]string]](): reflect.TypeFor[map[string][]string](),
	}
	var fields []reflect.StructField
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Event]()) {
		if t, ok := swap[f.Type]; ok {
			f.Type = t
		}
		fields = append(fields, f)
	}
	return reflect.StructOf(fields)
}
