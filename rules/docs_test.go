package rules

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentedPolicies reads every policy that the reference shows.
func TestDocumentedPolicies(t *testing.T) {
	text, err := os.ReadFile("../RESPONSE.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "```yaml\n")
	if len(parts) != 4 {
		t.Fatalf("the reference shows %d policies, want one of each mode", len(parts)-1)
	}
	for i, mode := range []string{"shadow", "approve", "auto"} {
		example, _, _ := strings.Cut(parts[i+1], "```")
		p, err := ParseResponse("response.md", []byte(example))
		if err != nil {
			t.Errorf("%s: %v", mode, err)
			continue
		}
		if got := p.Entries[0].Ladder[0].Mode; string(got) != mode {
			t.Errorf("the example of %s has mode %s", mode, got)
		}
	}
}
