package store

import (
	"errors"
	"testing"

	"github.com/stakeout-project/stakeout/ingest/stream"
)

func TestDecodeProfile(t *testing.T) {
	if _, _, err := decodeProfile(&stream.Record{Key: []byte{}}); !errors.Is(err, errNoRow) {
		t.Errorf("the record of a new owner: %v, want no row and no mistake", err)
	}
	if row, _, err := decodeProfile(&stream.Record{Key: []byte("a")}); err != nil || !row.deleted || row.Agent != "a" {
		t.Errorf("a tombstone: %+v, %v, want a deleted agent", row, err)
	}
	if row, _, err := decodeProfile(&stream.Record{Key: []byte("a\x00")}); err != nil || row.Agent != "a (untrusted)" {
		t.Errorf("what was told of an agent without trust: %+v, %v, want a name of its own", row, err)
	}
	for name, r := range map[string]stream.Record{"no key": {}, "no agent": {Key: []byte{}, Value: []byte{1}}, "no profile": {Key: []byte("a"), Value: []byte{0}}} {
		if _, _, err := decodeProfile(&r); err == nil || errors.Is(err, errNoRow) {
			t.Errorf("%s: %v, want a mistake", name, err)
		}
	}
}
