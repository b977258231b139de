package executor

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/command"
)

// told is an action as a notifier hears it, with all that a finding says.
func told(kind command.Kind) command.Action {
	a := action("a1")
	a.Kind, a.Incident, a.Severity, a.Reason = kind, "i1", 4, "clerk exercised <treasury:transfer> for the first time"
	a.Target = command.Target{Agent: "clerk", Session: "s1", Credential: "jti-1", Issuer: "https://idp.example", Subject: "clerk@example"}
	a.Findings = []string{"first_use/clerk/e1"}
	a.Occurred, a.Decided = event.At(time.Unix(1_780_000_000, 0)), event.At(time.Unix(1_780_000_001, 0))
	a.Expires = event.At(time.Now().Add(time.Minute))
	a.Claim = &command.Claim{Finding: "first_use/clerk/e1", Detector: "first_use", Threat: "privilege-drift", Time: a.Occurred, Tenant: "t1",
		Observed: "treasury:transfer, never used before", Baseline: "in 900 uses: crm:read", PValue: 1e-5, ATLAS: []string{"AML.T0053"}, ASI: []string{"ASI03"}}
	return a
}

// keep writes a secret as an operator does.
func keep(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A receiver is the other side of a specification: it takes what fits it, and
// misbehaves as often as it is told to before.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	times  []time.Time
	got    []json.RawMessage
	queue  []int // answers before it takes anything
	header map[string]string
}

func receive(t *testing.T, queue []int, take func(r *http.Request, body []byte) (int, any)) *receiver {
	t.Helper()
	v := &receiver{queue: queue, header: map[string]string{}}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.times = append(v.times, time.Now())
		if len(v.queue) > 0 {
			code := v.queue[0]
			v.queue = v.queue[1:]
			if code == 0 { // no answer in time
				v.mu.Unlock()
				<-r.Context().Done()
				v.mu.Lock()
				return
			}
			for k, x := range v.header {
				w.Header().Set(k, x)
			}
			w.WriteHeader(code)
			return
		}
		code, answer := take(r, body)
		v.got = append(v.got, body)
		w.WriteHeader(code)
		if answer != nil {
			if err := json.NewEncoder(w).Encode(answer); err != nil {
				t.Error(err)
			}
		}
	}))
	t.Cleanup(v.Close)
	return v
}

func (v *receiver) tries() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.times)
}

func quick() []time.Duration { return []time.Duration{0, time.Millisecond, time.Millisecond} }

// pagerDutyServer holds requests against what the Events API v2 documents.
func pagerDutyServer(t *testing.T, key string, queue ...int) (v *receiver, open map[string]int) {
	open = map[string]int{}
	return receive(t, queue, func(r *http.Request, body []byte) (int, any) {
		var e struct {
			RoutingKey  string `json:"routing_key"`
			EventAction string `json:"event_action"`
			DedupKey    string `json:"dedup_key"`
			Payload     *struct{ Summary, Source, Severity, Timestamp string }
		}
		bad := func(what string) (int, any) {
			return 400, map[string]any{"status": "invalid event", "message": "Event object is invalid", "errors": []string{what}}
		}
		switch err := json.Unmarshal(body, &e); {
		case err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || len(body) > 512<<10:
			return bad("not an event")
		case e.RoutingKey != key:
			return bad("routing_key is unknown")
		case len(e.DedupKey) > 255:
			return bad("dedup_key is too long")
		case e.EventAction == "trigger":
			if p := e.Payload; p == nil || p.Summary == "" || len([]rune(p.Summary)) > 1024 || p.Source == "" || !slices.Contains([]string{"critical", "error", "warning", "info"}, p.Severity) {
				return bad("payload")
			}
			if _, err := time.Parse(time.RFC3339, e.Payload.Timestamp); err != nil {
				return bad("timestamp")
			}
			open[e.DedupKey]++
		case (e.EventAction == "resolve" || e.EventAction == "acknowledge") && e.DedupKey != "":
			delete(open, e.DedupKey)
		default:
			return bad("event_action")
		}
		return 202, map[string]string{"status": "success", "message": "Event processed", "dedup_key": e.DedupKey}
	}), open
}

func pagerDuty(t *testing.T, v *receiver, key string, kind command.Kind) *PagerDuty {
	t.Helper()
	c := DefaultPagerDutyConfig()
	c.URL, c.RoutingKeyFile, c.Timeout = v.URL, keep(t, key), 200*time.Millisecond
	p, err := NewPagerDuty(c, kind)
	if err != nil {
		t.Fatal(err)
	}
	p.courier.waits = quick()
	return p
}

func TestPagerDuty(t *testing.T) {
	key := strings.Repeat("k", 32)
	v, open := pagerDutyServer(t, key, 500, 0) // a fault, then no answer in time
	p := pagerDuty(t, v, key, command.Page)
	if s, why := p.Do(t.Context(), told(command.Page)); s != command.Verified || v.tries() != 3 {
		t.Fatalf("%s: %s after %d tries", s, why, v.tries())
	}
	long := told(command.Page)
	long.ID, long.Reason, long.Severity = "a2", strings.Repeat("ä", 1024), 0
	if s, why := p.Do(t.Context(), long); s != command.Verified { // again about the same incident
		t.Fatalf("%s: %s", s, why)
	}
	if len(open) != 1 || open["i1"] != 2 {
		t.Errorf("open alerts are %v, want one of incident i1, triggered twice", open)
	}
	if s, why := pagerDuty(t, v, key, command.Resolve).Do(t.Context(), told(command.Resolve)); s != command.Verified || len(open) != 0 {
		t.Errorf("resolve: %s (%s), still open: %v", s, why, open)
	}
	s, why := pagerDuty(t, v, strings.Repeat("x", 32), command.Page).Do(t.Context(), told(command.Page))
	if s != command.Failed || !strings.Contains(why, "400: Event object is invalid") || strings.Contains(why, "xxx") {
		t.Errorf("with a wrong key: %s, %s", s, why)
	}
	for ocsf, want := range map[int]string{6: "critical", 5: "critical", 4: "error", 3: "warning", 2: "info", 1: "info", 0: "error"} {
		if got := pagerDutySeverity(ocsf); got != want {
			t.Errorf("severity %d is %s, want %s", ocsf, got, want)
		}
	}
}

// A receiver that says when to come back is left alone until then, and one that
// wants more than the command's time is not waited for.
func TestRetryAfter(t *testing.T) {
	key := strings.Repeat("k", 32)
	v, _ := pagerDutyServer(t, key, 429)
	v.header["Retry-After"] = "1"
	p := pagerDuty(t, v, key, command.Page)
	if s, why := p.Do(t.Context(), told(command.Page)); s != command.Verified || v.times[1].Sub(v.times[0]) < time.Second {
		t.Errorf("%s: %s, after %s", s, why, v.times[1].Sub(v.times[0]))
	}
	v, _ = pagerDutyServer(t, key, 503)
	v.header["Retry-After"] = "3600"
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	start := time.Now()
	if s, why := pagerDuty(t, v, key, command.Page).Do(ctx, told(command.Page)); s != command.Failed || !strings.Contains(why, "503") || time.Since(start) > time.Second {
		t.Errorf("%s: %s after %s", s, why, time.Since(start))
	}
}

func TestBreaker(t *testing.T) {
	key := strings.Repeat("k", 32)
	v, _ := pagerDutyServer(t, key, slices.Repeat([]int{503}, 9)...)
	p := pagerDuty(t, v, key, command.Page)
	for range breakAfter {
		if s, _ := p.Do(t.Context(), told(command.Page)); s != command.Failed {
			t.Fatal("a receiver that is away took it")
		}
	}
	n := v.tries()
	if s, why := p.Do(t.Context(), told(command.Page)); s != command.Failed || !strings.Contains(why, "left alone for another 30s") || v.tries() != n {
		t.Errorf("%s: %s, %d tries more", s, why, v.tries()-n)
	}
	p.courier.sick.until = time.Now() // half a minute later
	if s, why := p.Do(t.Context(), told(command.Page)); s != command.Verified {
		t.Errorf("back again: %s, %s", s, why)
	}
	if _, open := p.courier.sick.open(time.Now()); open || p.courier.sick.fails != 0 {
		t.Error("the breaker remembers")
	}
}

// setReceiver is a receiver of pushed security event tokens: RFC 8935, RFC 8417 and CAEP 1.0.
func setReceiver(t *testing.T, key *rsa.PublicKey, queue ...int) (*receiver, map[string]map[string]any) {
	events := map[string]map[string]any{} // by event
	seen := map[string]bool{}
	fail := func(code, why string) (int, any) { return 400, map[string]string{"err": code, "description": why} }
	return receive(t, queue, func(r *http.Request, body []byte) (int, any) {
		if r.Header.Get("Content-Type") != "application/secevent+jwt" || !strings.Contains(r.Header.Get("Accept"), "application/json") {
			return fail("invalid_request", "content type")
		}
		if r.Header.Get("Authorization") != "Bearer let-me-in" {
			return fail("authentication_failed", "let-me-in is missing")
		}
		parts := strings.Split(string(body), ".")
		if len(parts) != 3 {
			return fail("invalid_request", "no JWS")
		}
		var raw [3][]byte
		for i, p := range parts {
			var err error
			if raw[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
				return fail("invalid_request", err.Error())
			}
		}
		var head map[string]string
		var claims map[string]any
		if json.Unmarshal(raw[0], &head) != nil || json.Unmarshal(raw[1], &claims) != nil || head["typ"] != "secevent+jwt" || head["alg"] != "RS256" || head["kid"] != "k1" {
			return fail("invalid_request", "header or claims")
		}
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw[2]) != nil {
			return fail("invalid_key", "signature")
		}
		if claims["iss"] != "https://stakeout.example" {
			return fail("invalid_issuer", "")
		}
		if claims["aud"] != "https://receiver.example" {
			return fail("invalid_audience", "")
		}
		list, _ := claims["events"].(map[string]any)
		for _, forbidden := range []string{"sub", "exp"} {
			if _, has := claims[forbidden]; has {
				return fail("invalid_request", forbidden+" must not be present")
			}
		}
		iat, _ := claims["iat"].(float64)
		id, _ := claims["jti"].(string)
		if len(list) != 1 || id == "" || iat == 0 || claims["txn"] != "i1" || claims["sub_id"] == nil {
			return fail("invalid_request", "claims")
		}
		for uri, e := range list {
			ev := e.(map[string]any)
			if reason, _ := ev["reason_admin"].(map[string]any); reason["en"] == "" || ev["initiating_entity"] != "policy" {
				return fail("invalid_request", "reason_admin")
			}
			if strings.HasSuffix(uri, "risk-level-change") && (ev["principal"] == nil || !slices.Contains([]any{"LOW", "MEDIUM", "HIGH"}, ev["current_level"])) {
				return fail("invalid_request", "risk level")
			}
			ev["sub_id"], ev["again"] = claims["sub_id"], seen[id]
			seen[id] = true
			events[uri] = ev
		}
		return 202, nil
	}), events
}

func rsaKey(t *testing.T) (*rsa.PrivateKey, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key, keepKey(t, key)
}

func keepKey(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return keep(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func TestCAEP(t *testing.T) {
	key, file := rsaKey(t)
	v, events := setReceiver(t, &key.PublicKey, 503)
	c := DefaultCAEPConfig()
	c.URL, c.Audience, c.Issuer, c.KeyFile, c.KeyID, c.TokenFile = v.URL, "https://receiver.example", "https://stakeout.example", file, "k1", keep(t, "let-me-in")
	p, err := NewCAEP(c, command.Signal)
	if err != nil {
		t.Fatal(err)
	}
	p.courier.waits = quick()
	for again := range 2 { // the second time after a crash
		if s, why := p.Do(t.Context(), told(command.Signal)); s != command.Verified || !strings.Contains(why, "session-revoked and risk-level-change") {
			t.Fatalf("%s: %s", s, why)
		}
		for _, name := range c.Events {
			ev := events["https://schemas.openid.net/secevent/caep/event-type/"+name]
			if ev == nil || ev["again"] != (again == 1) {
				t.Fatalf("%s is %v", name, ev)
			}
			if id := ev["sub_id"].(map[string]any); id["format"] != "jwt_id" || id["iss"] != "https://idp.example" || id["jti"] != "jti-1" {
				t.Errorf("subject is %v", id)
			}
		}
	}
	risk := events["https://schemas.openid.net/secevent/caep/event-type/risk-level-change"]
	if risk["principal"] != "SESSION" || risk["current_level"] != "HIGH" || risk["risk_reason"] != "PRIVILEGE_DRIFT" {
		t.Errorf("risk is %v", risk)
	}
	p.cfg.Audience = "https://somebody.else"
	if s, why := p.Do(t.Context(), told(command.Signal)); s != command.Failed || !strings.Contains(why, "400: invalid_audience") {
		t.Errorf("wrong audience: %s, %s", s, why)
	}
	p.token = "wrong"
	if s, why := p.Do(t.Context(), told(command.Signal)); s != command.Failed || !strings.Contains(why, "authentication_failed") || strings.Contains(why, "let-me-in") {
		t.Errorf("wrong token: %s, %s", s, why)
	}
	other, _ := rsaKey(t)
	p.signer.key, p.token = other, "let-me-in"
	if s, why := p.Do(t.Context(), told(command.Signal)); s != command.Failed || !strings.Contains(why, "invalid_key") {
		t.Errorf("wrong key: %s, %s", s, why)
	}
}

func TestCAEPSubjects(t *testing.T) {
	f := func(format, principal string, target command.Target) {
		t.Helper()
		got, p := subjectOf(target)
		if got["format"] != format || p != principal {
			t.Errorf("subject of %+v is %v (%s)", target, got, p)
		}
	}
	f("jwt_id", "SESSION", command.Target{Agent: "a", Credential: "j", Issuer: "i", Subject: "s", Session: "x"})
	f("iss_sub", "USER", command.Target{Agent: "a", Issuer: "i", Subject: "s", Session: "x"})
	f("complex", "SESSION", command.Target{Agent: "a", Credential: "hash", Session: "x"})
	f("opaque", "USER", command.Target{Agent: "a"})
}

func TestSlack(t *testing.T) {
	var m slackMessage
	v := receive(t, []int{429}, func(r *http.Request, body []byte) (int, any) {
		if err := json.Unmarshal(body, &m); err != nil || m.Text == "" {
			return 400, nil
		}
		return 200, nil
	})
	c := DefaultSlackConfig()
	c.URLFile = keep(t, v.URL+"/services/T/B/secret")
	s, err := NewSlack(c, command.Page)
	if err != nil {
		t.Fatal(err)
	}
	s.courier.waits = quick()
	a := told(command.Page)
	a.Target.Agent = "<!channel> `x`"
	if got, why := s.Do(t.Context(), a); got != command.Verified || strings.Contains(why, "secret") {
		t.Fatalf("%s: %s", got, why)
	}
	text := string(v.got[0])
	for _, want := range []string{"Page: clerk exercised", "never used before", "in 900 uses", "i1"} {
		if !strings.Contains(text, want) {
			t.Errorf("message lacks %q: %s", want, text)
		}
	}
	for _, b := range m.Blocks {
		for _, e := range append(b.Elements, slackText{}) {
			if strings.Contains(e.Text, "<") {
				t.Errorf("an agent's name mentions: %s", e.Text)
			}
		}
	}
	if strings.Contains(m.Text, "<treasury") {
		t.Errorf("text is %s", m.Text)
	}
}

func TestWebhookOfNotices(t *testing.T) {
	key := make([]byte, 32)
	seen := map[string]int{}
	v := receive(t, []int{502}, func(r *http.Request, body []byte) (int, any) {
		id, at := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
		if r.Header.Get("webhook-signature") != sign([][]byte{key}, id, at, body) {
			return 401, nil
		}
		seen[id]++
		return 200, nil
	})
	w, err := NewWebhook(WebhookConfig{URL: v.URL, SecretFile: keep(t, "whsec_"+base64.StdEncoding.EncodeToString(key)), Timeout: time.Second}, command.Notify)
	if err != nil {
		t.Fatal(err)
	}
	w.courier.waits = quick()
	for range 2 {
		if s, why := w.Do(t.Context(), told(command.Notify)); s != command.Verified {
			t.Fatalf("%s: %s", s, why)
		}
	}
	var e webhookEvent
	if err := json.Unmarshal(v.got[0], &e); err != nil || e.Type != "stakeout.notify" || e.Data.Severity != 4 || e.Data.Claim.Baseline != "in 900 uses: crm:read" {
		t.Errorf("body is %s, %v", v.got[0], err)
	}
	if len(seen) != 1 || seen["a1"] != 2 {
		t.Errorf("ids are %v, want the same twice", seen)
	}
}

// collector is a syslog server that takes messages framed by their length.
func collector(t *testing.T, hang bool) (addr string, got chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got = make(chan string, 10)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(conn)
			size, err := r.ReadString(' ')
			n, perr := strconv.Atoi(strings.TrimSpace(size))
			if err != nil || perr != nil {
				t.Errorf("frame begins with %q", size)
			}
			m := make([]byte, n)
			if _, err := io.ReadFull(r, m); err != nil {
				t.Error(err)
			}
			got <- string(m)
			if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
				t.Errorf("%q follows the message, %v", rest, err)
			}
			if hang {
				defer conn.Close()
				continue
			}
			conn.Close()
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String(), got
}

func TestOCSF(t *testing.T) {
	addr, got := collector(t, false)
	c := DefaultOCSFConfig()
	c.Path, c.Syslog = filepath.Join(t.TempDir(), "findings.jsonl"), "tcp://"+addr
	o, err := NewOCSF(c)
	if err != nil {
		t.Fatal(err)
	}
	if s, why := o.Do(t.Context(), told(command.Notify)); s != command.Verified {
		t.Fatalf("%s: %s", s, why)
	}
	plain := told(command.Notify)
	plain.ID, plain.Claim, plain.Severity = "a2", nil, 5
	if err := os.Rename(c.Path, c.Path+".1"); err != nil { // rotated
		t.Fatal(err)
	}
	if s, why := o.Do(t.Context(), plain); s != command.Verified {
		t.Fatalf("%s: %s", s, why)
	}
	for i, name := range []string{c.Path + ".1", c.Path} {
		raw, err := os.ReadFile(name)
		if err != nil || strings.Count(string(raw), "\n") != 1 {
			t.Fatalf("%s holds %q, %v", name, raw, err)
		}
		message := <-got
		head, body, _ := strings.Cut(message, "\ufeff")
		if pri := fmt.Sprintf("<%d>1 ", 13*8+[]int{3, 2}[i]); !strings.HasPrefix(head, pri) || !strings.Contains(head, " stakeout - finding - ") || body+"\n" != string(raw) {
			t.Errorf("syslog has %q", message)
		}
		var f struct {
			ClassUID    int   `json:"class_uid"`
			TypeUID     int   `json:"type_uid"`
			Category    int   `json:"category_uid"`
			Activity    int   `json:"activity_id"`
			Severity    int   `json:"severity_id"`
			Time        int64 `json:"time"`
			FindingInfo struct {
				UID      string `json:"uid"`
				Title    string `json:"title"`
				Analytic struct {
					TypeID int `json:"type_id"`
				} `json:"analytic"`
			} `json:"finding_info"`
			Metadata struct {
				Version string
				Product struct{ Name string }
			}
			Analyses []struct {
				Targets   []struct{ Name string } `json:"analysis_targets"`
				Anomalies []struct {
					Parameter    string `json:"observation_parameter"`
					Observations []struct{ Value string }
				}
				Baselines []struct{ Observations []struct{ Value string } }
			} `json:"anomaly_analyses"`
		}
		if err := json.Unmarshal(raw, &f); err != nil {
			t.Fatal(err)
		}
		if f.ClassUID != 2004 || f.Category != 2 || f.TypeUID != f.ClassUID*100+f.Activity || f.Time != 1_780_000_001_000 || f.FindingInfo.UID == "" || f.Metadata.Version != "1.8.0" || f.Metadata.Product.Name == "" || f.Severity != []int{4, 5}[i] {
			t.Errorf("finding is %s", raw)
		}
		if i == 0 && (len(f.Analyses) != 1 || f.Analyses[0].Targets[0].Name != "clerk" || f.Analyses[0].Anomalies[0].Observations[0].Value != "treasury:transfer, never used before" || f.Analyses[0].Baselines[0].Observations[0].Value != "in 900 uses: crm:read" || f.FindingInfo.Analytic.TypeID != 3) {
			t.Errorf("analysis is %s", raw)
		}
	}
}

func TestSyslogThatIsAwayOrHangs(t *testing.T) {
	addr, _ := collector(t, true)
	c := DefaultOCSFConfig()
	c.Syslog, c.Timeout = "tcp://"+addr, 200*time.Millisecond
	o, err := NewOCSF(c)
	if err != nil {
		t.Fatal(err)
	}
	if s, why := o.Do(t.Context(), told(command.Notify)); s != command.Unverified || !strings.Contains(why, "did not close the connection") {
		t.Errorf("a collector that hangs: %s, %s", s, why)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.syslog.addr = ln.Addr().String()
	ln.Close()
	if s, why := o.Do(t.Context(), told(command.Notify)); s != command.Failed || !strings.Contains(why, "cannot be reached") {
		t.Errorf("a collector that is away: %s, %s", s, why)
	}
}

func TestSeveral(t *testing.T) {
	one := func(kind command.Kind, s command.Status) Actor { return fixed{kind, s} }
	f := func(kind command.Kind, want command.Status, statuses ...command.Status) {
		t.Helper()
		var all []Actor
		for _, s := range statuses {
			all = append(all, one(kind, s))
		}
		got, detail := Several(all...).Do(t.Context(), command.Action{})
		if got != want || strings.Count(detail, "; ") != len(statuses)-1 {
			t.Errorf("%s of %v is %s (%s), want %s", kind, statuses, got, detail, want)
		}
	}
	f(command.Page, command.Verified, command.Failed, command.Verified)
	f(command.Page, command.Failed, command.Failed, command.Failed)
	f(command.Notify, command.Failed, command.Failed, command.Verified)
	f(command.Notify, command.Unverified, command.Unverified, command.Verified)
	f(command.Notify, command.Verified, command.Verified, command.Verified)
	f(command.Notify, command.Verified, command.Verified)
}

// fixed always says the same.
type fixed struct {
	kind   command.Kind
	status command.Status
}

func (f fixed) Kind() command.Kind { return f.kind }
func (f fixed) Do(context.Context, command.Action) (command.Status, string) {
	return f.status, string(f.status)
}

func TestNotifierConfigs(t *testing.T) {
	f := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
	pd := DefaultPagerDutyConfig()
	f(pd.Validate(), "routing_key_file: is empty")
	pd.RoutingKeyFile = keep(t, "short")
	_, err := NewPagerDuty(pd, command.Page)
	f(err, "want an integration key of 32 characters")
	f(DefaultSlackConfig().Validate(), "url_file: is empty")
	_, err = NewSlack(SlackConfig{URLFile: keep(t, "http://chat.example/x"), Timeout: time.Second}, command.Page)
	f(err, "url_file: is http to another machine")
	f(DefaultWebhookConfig().Validate(), "secret_file: is empty")
	f(DefaultOCSFConfig().Validate(), "path: is empty, and so is syslog")
	for raw, want := range map[string]string{"udp://127.0.0.1:514": `has the scheme "udp"`, "tcp://10.0.0.1:514": "is tcp to another machine, want tls", "127.0.0.1": "want tls://host:port"} {
		c := DefaultOCSFConfig()
		c.Syslog = raw
		f(c.Validate(), want)
	}
	c := DefaultCAEPConfig()
	c.URL = "https://receiver.example"
	f(c.Validate(), "audience: is empty")
	f(c.Validate(), "issuer: is empty")
	f(c.Validate(), "key_file: is empty")
	c.Events = []string{"session-revoked", "session-revoked"}
	f(c.Validate(), "events[1]: is")
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c = CAEPConfig{URL: "https://r.example", Audience: "a", Issuer: "i", KeyFile: keepKey(t, curve), Events: []string{"session-revoked"}, Timeout: time.Second}
	_, err = NewCAEP(c, command.Signal)
	f(err, "RSA of 2048 bits or more")
	c.KeyFile = keep(t, "no pem")
	_, err = NewCAEP(c, command.Signal)
	f(err, "holds no PEM")
}
