package executor

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stakeout-project/stakeout/triage/command"
)

func TestCAEPTellsOfRisk(t *testing.T) {
	key, file := rsaKey(t)
	v, events := setReceiver(t, publicOf(key))
	c := DefaultCAEPConfig()
	c.URL, c.Audience, c.Issuer, c.KeyFile, c.KeyID, c.TokenFile = v.URL, "https://receiver.example", "https://stakeout.example", file, "k1", keep(t, "let-me-in")
	p, err := NewCAEP(c, command.RiskChange)
	if err != nil {
		t.Fatal(err)
	}
	a := told(command.RiskChange)
	a.Target, a.Claim = command.Target{Agent: "clerk"}, nil
	a.Risk = &command.Risk{Score: 12, Level: command.RiskMedium, Previous: command.RiskHigh}
	if s, why := p.Do(t.Context(), a); s != command.Verified || strings.Contains(why, "session-revoked") {
		t.Fatalf("%s: %s", s, why)
	}
	ev := events[caepBase+riskLevelChange]
	if ev["current_level"] != "MEDIUM" || ev["previous_level"] != "HIGH" || ev["principal"] != "USER" || len(events) != 1 {
		t.Errorf("events are %v", events)
	}
	c.Events = []string{sessionRevoked}
	if c.TellsRisk() {
		t.Error("a receiver that does not want changes of risk is told of them")
	}
}

func publicOf(k *rsa.PrivateKey) *rsa.PublicKey { return &k.PublicKey }

// TestQuarantine believes a memory store only if it says that it did it.
func TestQuarantine(t *testing.T) {
	f := func(want command.Status, says string, code int, answer any) {
		t.Helper()
		v := receive(t, nil, func(r *http.Request, body []byte) (int, any) {
			var e webhookEvent
			if err := json.Unmarshal(body, &e); err != nil || e.Type != "stakeout.quarantine_memory" || e.Data.Target.Memory != "notes/7" || r.Header.Get("webhook-signature") == "" {
				return 400, nil
			}
			return code, answer
		})
		c := DefaultWebhookConfig()
		c.URL, c.SecretFile = v.URL, keep(t, "whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 24)))
		w, err := NewWebhook(c, command.QuarantineMemory)
		if err != nil {
			t.Fatal(err)
		}
		w.courier.waits = quick()
		a := told(command.QuarantineMemory)
		a.Target.Memory = "notes/7"
		if s, why := w.Do(t.Context(), a); s != want || !strings.Contains(why, says) {
			t.Errorf("answer %d %v: %s, %s; want %s, %s", code, answer, s, why, want, says)
		}
	}
	f(command.Verified, "said that it is quarantined", 200, map[string]string{"status": "quarantined"})
	f(command.Unverified, "did not say", 202, nil)
	f(command.Unverified, "did not say", 200, map[string]string{"status": "queued"})
	f(command.Unverified, "did not say", 200, "quarantined")
	f(command.Failed, "answered 404", 404, map[string]string{"status": "quarantined"})
}
