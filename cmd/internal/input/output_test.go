package input

import (
	"os"
	"path/filepath"
	"testing"
)

func TestApart(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, err := range []error{
		os.WriteFile("there", []byte("x"), 0o600),
		os.WriteFile("other", nil, 0o600),
		os.Symlink("there", "symbolic"),
		os.Link("there", "hard"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	whole, err := filepath.Abs("there")
	if err != nil {
		t.Fatal(err)
	}
	f := func(out, other string, apart bool) {
		t.Helper()
		if err := Apart(out, "other", other); (err == nil) != apart {
			t.Errorf("Apart(%q, %q) = %v, want them apart: %t", out, other, err, apart)
		}
	}
	f("there", "there", false)
	f("there", "./there", false)
	f("there", whole, false)
	f("symbolic", "there", false)
	f("there", "symbolic", false)
	f("there", "hard", false)
	f("new", "new", false)
	f("new", "./new", false)
	f("there", "new", true)
	f("new", "there", true)
	f("", "there", true)
	f("there", "", true)
	f("there", "-", true)
	f(os.DevNull, os.DevNull, true)
}
