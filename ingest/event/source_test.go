package event

import (
	"math"
	"testing"
	"time"
)

func TestSource(t *testing.T) {
	for _, want := range []Source{
		{Topic: "stakeout.raw"},
		{Topic: "stakeout.raw", Partition: 7, Offset: 1 << 40, Line: 3},
		{Topic: "stakeout.raw", Partition: 7, Offset: 1 << 40, Line: 3, Ahead: 900*time.Second + 1},
		{Topic: "stakeout.raw", Partition: 7, Offset: 1 << 40, Line: 3, Ahead: 900 * time.Second, Rounded: true},
		{Ahead: math.MaxInt64},
		{Ahead: math.MaxInt32 * time.Second, Rounded: true},
		{Topic: "", Partition: math.MaxInt32, Offset: math.MaxInt64, Line: math.MaxInt32},
	} {
		var got Source
		if err := got.Parse(want.AppendBinary(nil)); err != nil || got != want {
			t.Errorf("Parse(%+v) = %+v, %v", want, got, err)
		}
	}
	good := Source{Topic: "t", Partition: 300, Offset: 300, Line: 300}.AppendBinary(nil)
	for i := range 6 {
		if err := new(Source).Parse(good[:i]); err == nil {
			t.Errorf("Parse of the first %d bytes is accepted", i)
		}
	}
	if err := new(Source).Parse([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0}); err == nil {
		t.Error("Parse of a partition beyond an int32 is accepted")
	}
	if err := new(Source).Parse(append(good, aheadSeconds)); err == nil {
		t.Error("Parse without by how much a clock was ahead is accepted")
	}
	var s Source
	if n := testing.AllocsPerRun(10, func() {
		if err := s.Parse(good); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Parse of the topic it knows takes %v allocations, want 0", n)
	}
}

// TestAnEarlierBuildsSource reads what builds before wrote of a clock that was ahead.
func TestAnEarlierBuildsSource(t *testing.T) {
	var got Source
	if err := got.Parse(append([]byte{7, 9, 3}, "raw\x00\x84\x07"...)); err != nil {
		t.Fatal(err)
	}
	if want := (Source{Topic: "raw", Partition: 7, Offset: 9, Line: 3, Ahead: 15 * time.Minute, Rounded: true}); got != want {
		t.Errorf("Parse = %+v, want %+v", got, want)
	}
}

func TestClaimed(t *testing.T) {
	f := func(s Source, at, want Timestamp) {
		t.Helper()
		if got := s.Claimed(at); got != want {
			t.Errorf("%+v: an event admitted at %d claims %d, want %d", s, at, got, want)
		}
	}
	f(Source{}, 5, 5)
	f(Source{Ahead: 7}, 5, 12)
	f(Source{Ahead: time.Second, Rounded: true}, 5, 5)
	f(Source{Ahead: math.MaxInt64}, 5, 5)
}

func TestSourceCompare(t *testing.T) {
	ordered := []Source{
		{Topic: "a", Partition: 9, Offset: 9, Line: 9},
		{Topic: "b", Partition: 1, Offset: 9, Line: 9},
		{Topic: "b", Partition: 2, Offset: 1, Line: 9},
		{Topic: "b", Partition: 2, Offset: 2, Line: 0},
		{Topic: "b", Partition: 2, Offset: 2, Line: 1},
	}
	for i, a := range ordered {
		for j, b := range ordered {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := a.Compare(b); got != want {
				t.Errorf("%+v.Compare(%+v) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func FuzzSource(f *testing.F) {
	f.Add(Source{Topic: "stakeout.raw", Partition: 3, Offset: 1 << 33, Line: 1}.AppendBinary(nil))
	f.Add(Source{Topic: "stakeout.raw", Ahead: 1<<40 + 1}.AppendBinary(nil))
	f.Add(Source{Topic: "stakeout.raw", Ahead: 1 << 10 * time.Second, Rounded: true}.AppendBinary(nil))
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again Source
		if s.Parse(b) != nil {
			return
		}
		if err := again.Parse(s.AppendBinary(nil)); err != nil || again != s || s.Partition < 0 || s.Offset < 0 || s.Line < 0 {
			t.Errorf("Parse(%x) = %+v, which reads back as %+v, %v", b, s, again, err)
		}
	})
}
