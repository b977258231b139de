package event

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"testing"
)

// Of eight bytes special marks the first that needs a closer look, whatever stands behind it.
func TestSpecial(t *testing.T) {
	for c := range 256 {
		for behind := range 256 {
			for at := range 8 {
				b := append(bytes.Repeat([]byte{'!'}, at), byte(c))
				b = append(b, bytes.Repeat([]byte{byte(behind)}, 7-at)...)
				want := bytes.IndexFunc(b, func(r rune) bool { return r < ' ' || r >= 0x80 || r == '"' || r == '\\' })
				if want < 0 {
					want = 8
				}
				if got := bits.TrailingZeros64(special(binary.LittleEndian.Uint64(b))) / 8; got != want {
					t.Fatalf("special(%q) marks %d first, want %d", b, got, want)
				}
			}
		}
	}
}
