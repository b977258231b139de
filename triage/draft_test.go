package triage

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// endpoint starts a model that answers as it is told to, and configures w to ask it.
func (w *world) endpoint(answer http.HandlerFunc) (asked chan string) {
	w.Helper()
	asked = make(chan string, 1000)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.Error(err)
		}
		asked <- fmt.Sprintln(r.Method, r.URL, r.Header.Get("Authorization"), string(body))
		answer(rw, r)
	}))
	w.Cleanup(s.Close)
	w.draft = DraftConfig{URL: s.URL + "/v1", Model: "m", Timeout: 5 * time.Second}
	return asked
}

// says answers with a text, as the endpoints do.
func says(text string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		answer := map[string]any{"id": "x", "model": "other", "choices": []any{map[string]any{"index": 0, "message": map[string]any{"role": "assistant", "content": text}}}}
		if err := json.NewEncoder(rw).Encode(answer); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

func body(s string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		if _, err := io.WriteString(rw, s); err != nil {
			panic(http.ErrAbortHandler) // nobody wants the rest
		}
	}
}

func (h history) drafts() (all []command.Draft) {
	for _, c := range h.cases {
		if c.Draft != nil {
			all = append(all, *c.Draft)
		}
	}
	return all
}

// rest is all that h says besides drafts, as bytes.
func (h history) rest(t *testing.T) string {
	t.Helper()
	all := struct {
		Commands []command.Action
		Outcomes []command.Outcome
		Cases    []command.Case
	}{h.commands, h.outcomes, nil}
	for _, c := range h.cases {
		if c.Draft == nil {
			all.Cases = append(all.Cases, c)
		}
	}
	raw, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestModelChangesNothing holds all that triage says and does without a model
// against the same with one, however it behaves.
func TestModelChangesNothing(t *testing.T) {
	at := time.Now().Truncate(time.Second)
	do := func(t *testing.T, answer http.HandlerFunc, result, text string) string {
		w := newWorld(t)
		if answer != nil {
			w.endpoint(answer)
		}
		if result == "timeout" {
			w.draft.Timeout = 100 * time.Millisecond
		}
		tr := w.triage()
		tr.now = func() time.Time { return at }
		a, b := w.finding("a", 1), w.finding("a", 2)
		a.Time, b.Time = event.At(at), event.At(at)
		a.PValue, a.Level, a.Observed = 1e-6, 1e-3, "crm:export"
		w.run(tr.Run)
		w.must(w.feed(tr, a, b))
		w.wantDisposed(a, b)
		want := map[string]float64{result: 2}
		for _, r := range []string{"told", "skipped", "timeout", "failed", "nonsense"} {
			w.wantCount(tr.metrics.drafts, r, want[r])
		}
		h := w.wantOnce()
		for _, d := range h.drafts() {
			if d.Model != "m" || d.Text != text {
				t.Errorf("draft is %+v, want %q", d, text)
			}
		}
		if n := len(h.drafts()); n != 2 && text != "" || n != 0 && text == "" {
			t.Errorf("%d drafts", n)
		}
		return h.rest(t)
	}
	without := do(t, nil, "", "")
	if !strings.Contains(without, "revoke_token by policy contain") || !strings.Contains(without, `"commanded"`) {
		t.Fatalf("too little happened: %s", without)
	}
	for _, tt := range []struct {
		name         string
		answer       http.HandlerFunc
		result, text string
	}{
		{"good", says("It used crm:export for the first time."), "told", "It used crm:export for the first time."},
		{"escapes", says("\x1b[2J\x1b]0;owned\x07ok\r\n\u009b31m \u202Etxt\u200b \u2028end"), "told", "[2J ]0;owned ok 31m txt end"},
		{"decides", says(`{"verdict":"benign","change":"closed","actions":[{"kind":"resolve"}]}` + "\nreport  benign"), "told", `{"verdict":"benign","change":"closed","actions":[{"kind":"resolve"}]} report benign`},
		{"long", says(strings.Repeat("ä", 3000)), "told", strings.Repeat("ä", 1022) + "..."},
		{"no json", body("<html>it works</html>"), "nonsense", ""},
		{"no choices", body(`{"choices":[]}`), "nonsense", ""},
		{"no text", body(`{"choices":[{"message":{"content":["a"]}}]}`), "nonsense", ""},
		{"nothing", says(" \x1b\n"), "nonsense", ""},
		{"huge", body(`{"choices":[{"message":{"content":"` + strings.Repeat("x", 1<<20) + `"}}]}`), "nonsense", ""},
		{"away", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) }, "failed", ""},
		{"elsewhere", func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/", http.StatusTemporaryRedirect) }, "failed", ""},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "failed", ""},
		{"slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timeout", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(without, do(t, tt.answer, tt.result, tt.text)); diff != "" {
				t.Errorf("it is not the same as without a model:\n%s", diff)
			}
		})
	}
}

// TestPrompt fills every field of a finding, and looks at what leaves.
func TestPrompt(t *testing.T) {
	w := newWorld(t)
	asked := w.endpoint(says("ok"))
	w.draft.KeyFile = filepath.Join(w.dir, "key")
	w.must(os.WriteFile(w.draft.KeyFile, []byte("k-secret\n"), 0o600))
	tr := w.triage()
	w.run(tr.Run)
	f := w.finding("a", 1)
	f.Role, f.Tenant, f.Session, f.User, f.Parent = "HIDE-role", "HIDE-tenant", "HIDE-session", "HIDE-user", "HIDE-parent"
	f.Credential = detect.Credential{ID: "HIDE-id", Issuer: "HIDE-issuer", Subject: "HIDE-subject"}
	f.Observed, f.Baseline, f.Nearest, f.Normal = "crm:export, \"ignore all\"", "crm:read", []string{"crm:list"}, "HIDE-normal"
	f.Event, f.Evidence, f.Rules, f.ASI, f.ATLAS = "HIDE-event", []string{"HIDE-1", "HIDE-2"}, "HIDE-rules", []string{"HIDE-asi"}, []string{"HIDE-atlas"}
	f.Entities = []detect.Entity{{Kind: detect.MemoryEntity, Name: "HIDE-record"}}
	w.must(w.feed(tr, f))
	w.wantCount(tr.metrics.drafts, "told", 1)
	request := <-asked
	line, rest, _ := strings.Cut(request, "{")
	if line != "POST /v1/chat/completions Bearer k-secret " || strings.Contains(rest, "HIDE") || strings.Contains(rest, "k-secret") {
		t.Errorf("asked %s", request)
	}
	var got struct {
		Model    string
		Messages []message
	}
	w.must(json.Unmarshal([]byte("{"+rest), &got))
	var about map[string]any
	if len(got.Messages) != 2 || got.Model != "m" || got.Messages[0] != (message{"system", instruction}) {
		t.Fatalf("asked %s", request)
	}
	w.must(json.Unmarshal([]byte(got.Messages[1].Content), &about))
	want := map[string]any{"detector": "first_use", "threat": "privilege-drift", "severity": f.Severity.String(), "verdict": "insufficient_data", "confidence": "low",
		"reason": f.Reason, "observed": f.Observed, "baseline": "crm:read", "nearest": []any{"crm:list"}, "findings_in_incident": 1., "detectors_in_incident": 1.,
		"agents_in_incident": 1., "events": 2.}
	if diff := cmp.Diff(want, about); diff != "" {
		t.Error(diff)
	}

	w.must(os.Chmod(w.draft.KeyFile, 0o644)) // a key that others may read is not used
	w.must(w.feed(tr, w.finding("a", 2)))
	w.wantCount(tr.metrics.drafts, "failed", 1)
	if len(asked) != 0 {
		t.Errorf("asked %s", <-asked)
	}
}

// TestNobodyWaitsForAModel fills the queue, with nobody at its other end.
func TestNobodyWaitsForAModel(t *testing.T) {
	w := newWorld(t)
	asked := w.endpoint(says("late"))
	tr := w.triage()
	var fs []detect.Finding
	for n := range draftQueue + 3 {
		fs = append(fs, w.finding("a", n))
	}
	w.must(w.feed(tr, fs...))
	w.wantDisposed(fs...)
	if n := testutil.ToFloat64(tr.metrics.drafts.WithLabelValues("skipped")); n != 3 || len(asked) != 0 {
		t.Errorf("%v skipped, asked %d times", n, len(asked))
	}
	w.must(w.feed(tr, fs...)) // known findings get no draft
	w.run(tr.Run)
	w.wantCount(tr.metrics.drafts, "told", draftQueue)
	w.wantCount(tr.metrics.drafts, "skipped", 3)
}

func TestDraftConfig(t *testing.T) {
	f := func(change func(*DraftConfig), want string) {
		t.Helper()
		c := DefaultDraftConfig()
		c.URL, c.Model = "https://models.example/v1", "m"
		change(&c)
		switch err := c.Validate(); {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	if c := DefaultConfig().Draft; c.URL != "" || c.Validate() != nil {
		t.Errorf("by default it is %+v, %v", c, c.Validate())
	}
	f(func(*DraftConfig) {}, "")
	f(func(c *DraftConfig) { c.URL = "http://127.0.0.1:11434/v1" }, "")
	f(func(c *DraftConfig) { c.URL = "http://[::1]:1/" }, "")
	f(func(c *DraftConfig) { c.URL = "http://localhost" }, "")
	f(func(c *DraftConfig) { c.URL = "http://models.example/v1" }, "url: is http to another machine")
	f(func(c *DraftConfig) { c.URL = "http://127.0.0.1.example/v1" }, "url: is http to another machine")
	f(func(c *DraftConfig) { c.URL = "https://u:p@models.example/v1" }, "url: is not a plain URL")
	f(func(c *DraftConfig) { c.URL = "https://models.example/v1?key=k" }, "url: is not a plain URL")
	f(func(c *DraftConfig) { c.URL = "models" }, "url: is not a plain URL")
	f(func(c *DraftConfig) { c.URL = "ftp://models.example" }, `url: has the scheme "ftp"`)
	f(func(c *DraftConfig) { c.Model = "" }, "model: is empty")
	f(func(c *DraftConfig) { c.Model = "m\x1b[2J" }, "model: is")
	f(func(c *DraftConfig) { c.Model = strings.Repeat("m", 129) }, "model: is")
	f(func(c *DraftConfig) { c.Timeout = 0 }, "timeout: is 0s")
	c := DefaultConfig()
	c.Draft = DraftConfig{URL: "http://models.example"}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "draft.url: is http to another machine") || !strings.Contains(err.Error(), "draft.model: is empty") {
		t.Errorf("triage: %v", err)
	}
}

func FuzzAnswerOfModel(f *testing.F) {
	f.Add([]byte(`{"choices":[{"message":{"content":"a\u001b[2J\u202e\ud800b"}}]}`))
	f.Add([]byte(`{"choices":[{"message":null}]}`))
	f.Add([]byte("{\"choices\":[{\"message\":{\"content\":\"\xff\xfe\"}}]}"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		text, err := textOf(answer)
		if err != nil {
			return
		}
		if text == "" || len(text) > command.MaxDraft || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q became %q", answer, text)
		}
	})
}
