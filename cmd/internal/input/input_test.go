package input

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func zipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPlain(t *testing.T) {
	text := strings.Repeat("a line\n", 1000)
	whole := zipped(t, text)
	damaged := bytes.Clone(whole)
	damaged[len(damaged)-6] ^= 1 // of the checksum
	f := func(name string, content []byte, want, refusal string) {
		t.Helper()
		in, err := Plain(bytes.NewReader(content))
		var got []byte
		if err == nil {
			got, err = io.ReadAll(in)
			err = Explain(err)
		}
		if refusal == "" && (err != nil || string(got) != want) {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(got), err, len(want))
		}
		if refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)) {
			t.Errorf("%s: %v, want it refused with %q", name, err, refusal)
		}
	}
	f("nothing", nil, "", "")
	f("one byte", []byte{0x1f}, "\x1f", "")
	f("text", []byte(text), text, "")
	f("compressed", whole, text, "")
	f("two in a row", append(bytes.Clone(whole), whole...), text+text, "")
	f("a head alone", whole[:5], "", "cut short")
	f("cut short", whole[:len(whole)-4], "", "cut short")
	f("another checksum", damaged, "", "damaged")
	f("no deflate", append(bytes.Clone(whole[:10]), "\xff\xff\xff\xff"...), "", "damaged")
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := Check(name); n != 5 || err != nil {
		t.Errorf("Check of a file of 5 bytes = %d, %v", n, err)
	}
	if n, err := Check(os.DevNull); n != 0 || err != nil {
		t.Errorf("Check of a device = %d, %v; want no size", n, err)
	}
	for file, want := range map[string]string{dir: "is a directory", name + "x": "no such file"} {
		if _, err := Open(file); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("Open(%s): %v, want %s", file, err, want)
		}
	}
}
