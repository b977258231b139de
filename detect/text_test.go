package detect

import (
	"strings"
	"testing"
)

func TestTextsGiveBackWhatFits(t *testing.T) {
	const id = "0192f0c1-2b3c-7d4e-8f50-617283940a1b"
	for _, s := range []string{"", "a", "stakeout.raw/11/1234567890", strings.Repeat("x", 26), id, strings.Repeat("0af9", 13)} {
		if got := brief(s).String(); got != s {
			t.Errorf("a Brief of %q reads %q", s, got)
		}
	}
	var text Text
	sum := strings.Repeat("c0ffee42", 8) // as long as the SHA-256 of a token
	if text.set(sum); text.String() != sum {
		t.Errorf("a Text of %q reads %q", sum, text)
	}
}

func TestTextsOfTwoThatDoNotFitDiffer(t *testing.T) {
	long := strings.Repeat("https://login.example/", 4)
	a, b := brief(long+"a"), brief(long+"b")
	if a == b || !strings.HasPrefix(a.String(), "https://l~") || len(a.String()) != 26 {
		t.Errorf("shortened to %q and %q, want two that begin alike", a, b)
	}
	for _, s := range []string{
		"0192F0C1-2b3c-7d4e-8f50-617283940a1b", // upper case would not come back
		strings.Repeat("0af9", 12) + "0aF9",
		"0192f0c1-2b3c-7d4e-8f50-617283940a1g",
	} {
		if got := brief(s).String(); got == strings.ToLower(s) || len(got) != 26 {
			t.Errorf("a Brief of %q reads %q, want it shortened", s, got)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("0192f0c1-2b3c-7d4e-8f50-617283940a1b")
	f.Add(strings.Repeat("0a", 32))
	f.Fuzz(func(t *testing.T, s string) {
		var text Text
		text.set(s)
		if !text.form.fits(len(text.b)) {
			t.Errorf("%q has form %#x", s, text.form)
		}
		if got := text.String(); got != s && (len(s) <= len(text.b) || !strings.Contains(got, "~")) {
			t.Errorf("%q reads %q", s, got)
		}
	})
}

func TestReferencesGiveBackWhatFits(t *testing.T) {
	for _, s := range []string{"", "a", "stakeout.raw/11/1234567890", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "0192f0c1-2b3c-7d4e-8f50-617283940a1b",
		strings.Repeat("0af9", 9), "V1StGXR8_Z5jdHi6B-myT", "agent-17/2026.01_05", strings.Repeat("z", 27), "Ärger mit Umlaut"} {
		if got := reference(s).String(); got != s {
			t.Errorf("a Reference of %q reads %q", s, got)
		}
	}
	long := strings.Repeat("https://login.example/", 4)
	a, b := reference(long+"a"), reference(long+"b")
	if a == b || !strings.HasPrefix(a.String(), "h~") || len(a.String()) != 18 {
		t.Errorf("shortened to %q and %q, want two that begin alike", a, b)
	}
}

func TestLabelsKeepTheBeginning(t *testing.T) {
	for s, want := range map[string]string{"tickets:attachment": "tickets:attachment", "tickets:attachments": "tickets:attachment",
		"Tickets:Attach": "Tickets:Atta", "crm:read": "crm:read", "": "", "arn:aws/s3:GetObject": "arn:aws/s3:G"} {
		var l label
		if l.set(s); l.String() != want {
			t.Errorf("a label of %q reads %q, want %q", s, l, want)
		}
	}
}

func FuzzReference(f *testing.F) {
	f.Add("0192f0c1-2b3c-7d4e-8f50-617283940a1b")
	f.Add("01ARZ3NDEKTSV4RRFFQ69G5FAV")
	f.Add(strings.Repeat("a/.9-_", 4))
	f.Fuzz(func(t *testing.T, s string) {
		r := reference(s)
		if !r.form.fits(len(r.b)) {
			t.Errorf("%q has packing %#x", s, r.form)
		}
		if got := r.String(); got != s && (len(s) <= len(r.b) || !strings.Contains(got, "~")) {
			t.Errorf("%q reads %q", s, got)
		}
		if r.empty() != (s == "") {
			t.Errorf("%q is empty: %t", s, r.empty())
		}
	})
}
