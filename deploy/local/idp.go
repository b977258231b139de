package local

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// IDPMode is how an [IDP] treats a request for revocation.
type IDPMode string

// The modes.
const (
	Honest      IDPMode = "honest"      // as RFC 7009 says
	Lies        IDPMode = "lies"        // answers 200 and revokes nothing
	Unavailable IDPMode = "unavailable" // answers 503 and revokes nothing
)

// IDPConfig says where an identity provider listens, and to which client.
type IDPConfig struct {
	Listen     string        // host and port; port 0 is a free one
	ClientID   string        // of the one client that may revoke and introspect
	Secret     string        // its secret; empty: a random one
	RetryAfter time.Duration // told while unavailable
}

// DefaultIDPConfig listens on a free port of this machine.
func DefaultIDPConfig() IDPConfig {
	return IDPConfig{Listen: "127.0.0.1:0", ClientID: "stakeout", RetryAfter: time.Second}
}

// IDP is an identity provider for demonstrations and tests: it issues tokens,
// and revokes (RFC 7009) and introspects (RFC 7662) them over HTTP, for a client
// that identifies itself by client_secret_basic. It can be told to misbehave.
type IDP struct {
	cfg    IDPConfig
	server http.Server
	url    string
	done   chan error

	mu      sync.Mutex
	mode    IDPMode
	tokens  map[string]*issued // by token
	revokes int
}

type issued struct {
	jti    string
	active bool
}

// StartIDP starts an identity provider.
func StartIDP(c IDPConfig) (*IDP, error) {
	if c.Secret == "" {
		c.Secret = rand.Text()
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("identity provider: %w", err)
	}
	p := &IDP{cfg: c, url: "http://" + ln.Addr().String(), mode: Honest, tokens: map[string]*issued{}, done: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /revoke", p.revoke)
	mux.HandleFunc("POST /introspect", p.introspect)
	p.server = http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { p.done <- p.server.Serve(ln) }()
	return p, nil
}

// URL returns the issuer's address; /revoke and /introspect lie below it.
func (p *IDP) URL() string { return p.url }

// ClientID returns the id of the client that may revoke and introspect.
func (p *IDP) ClientID() string { return p.cfg.ClientID }

// Secret returns that client's secret.
func (p *IDP) Secret() string { return p.cfg.Secret }

// Close stops the server. Requests have a second to end.
func (p *IDP) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := p.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) { // connections opened ahead, with no request yet
		err = p.server.Close()
	}
	if served := <-p.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// SetMode changes how requests for revocation are treated from now on.
func (p *IDP) SetMode(m IDPMode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
}

// Issue makes a token with the given id.
func (p *IDP) Issue(jti string) (token string) {
	raw := make([]byte, 32)
	rand.Read(raw) // never fails
	token = base64.RawURLEncoding.EncodeToString(raw)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens[token] = &issued{jti: jti, active: true}
	return token
}

// Active reports whether a token was issued and not revoked.
func (p *IDP) Active(token string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tokens[token]
	return t != nil && t.active
}

// Revocations returns how many authenticated requests for revocation came.
func (p *IDP) Revocations() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revokes
}

func (p *IDP) revoke(w http.ResponseWriter, r *http.Request) {
	token, ok := p.request(w, r)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revokes++
	switch p.mode {
	case Unavailable:
		w.Header().Set("Retry-After", strconv.Itoa(int(p.cfg.RetryAfter/time.Second)))
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case Honest:
		if t := p.tokens[token]; t != nil {
			t.active = false
		}
	}
	w.WriteHeader(http.StatusOK) // an unknown token too: RFC 7009 section 2.2
}

func (p *IDP) introspect(w http.ResponseWriter, r *http.Request) {
	token, ok := p.request(w, r)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.tokens[token]; t != nil && t.active {
		writeJSON(w, http.StatusOK, map[string]any{"active": true, "jti": t.jti, "iss": p.url})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"active": false}) // and nothing else: RFC 7662 section 2.2
}

// request authenticates the client and reads the token.
func (p *IDP) request(w http.ResponseWriter, r *http.Request) (token string, ok bool) {
	id, secret, _ := r.BasicAuth()
	id, err1 := url.QueryUnescape(id)
	secret, err2 := url.QueryUnescape(secret)
	same := subtle.ConstantTimeCompare([]byte(id), []byte(p.cfg.ClientID)) & subtle.ConstantTimeCompare([]byte(secret), []byte(p.cfg.Secret))
	if err1 != nil || err2 != nil || same != 1 {
		w.Header().Set("WWW-Authenticate", `Basic realm="stakeout"`)
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return "", false
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil || r.PostForm.Get("token") == "" {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_request"})
		return "", false
	}
	return r.PostForm.Get("token"), true
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body) // the client may have gone: there is nobody left to tell
}
