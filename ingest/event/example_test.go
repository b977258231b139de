package event

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeExample takes the example event as a reader does who copies it into a
// file: each of its lines has to be an event.
func TestReadmeExample(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "An event is one flat JSON object")
	if !found {
		t.Fatal("the README does not say what an event is")
	}
	_, rest, _ = strings.Cut(rest, "\n\n")
	example, _, _ := strings.Cut(rest, "\n\n")
	for line := range strings.Lines(example) {
		var d Decoder
		var ev Event
		if err := d.Decode([]byte(strings.TrimSpace(line)), &ev); err != nil || d.Unknown() > 0 {
			t.Errorf("%s: %v, %d unknown fields or values", line, err, d.Unknown())
		}
	}
}
