package triage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/stakeout-project/stakeout/triage/command"
)

// DraftConfig says which model writes drafts beside the dispositions. Without a URL none does.
type DraftConfig struct {
	URL     string        `koanf:"url"`      // of an OpenAI-compatible API, up to and without /chat/completions; empty: off
	Model   string        `koanf:"model"`    // name by which that API knows it
	KeyFile string        `koanf:"key_file"` // file of mode 0600 with the API key; empty: none is sent
	Timeout time.Duration `koanf:"timeout"`  // of the one try that a draft gets
}

// DefaultDraftConfig is off.
func DefaultDraftConfig() DraftConfig { return DraftConfig{Timeout: 30 * time.Second} }

// Validate lists everything wrong with c, which is nothing while it is off.
func (c DraftConfig) Validate() error {
	if c.URL == "" {
		return nil
	}
	var errs []error
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		errs = append(errs, errors.New("url: is not a plain URL, want https://host/path without a password or query"))
	case u.Scheme != "https" && u.Scheme != "http":
		errs = append(errs, fmt.Errorf("url: has the scheme %q, want https", u.Scheme))
	case u.Scheme == "http" && !loopback(u.Hostname()):
		errs = append(errs, errors.New("url: is http to another machine, want https"))
	}
	switch {
	case c.Model == "":
		errs = append(errs, errors.New("model: is empty, want the name of a model"))
	case len(c.Model) > command.MaxModel || plain(c.Model) != c.Model:
		errs = append(errs, fmt.Errorf("model: is %.20q, want a name of up to %d printable bytes", c.Model, command.MaxModel))
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > 5*time.Minute {
		errs = append(errs, fmt.Errorf("timeout: is %s, want 100ms to 5m", c.Timeout))
	}
	return errors.Join(errs...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// maxAnswer bounds what is read of a model's answer, in bytes.
const maxAnswer = 64 << 10

// errNonsense: the endpoint answered, but not with a text.
var errNonsense = errors.New("the answer holds no text")

// A model is asked over HTTP. It is not trusted: what it answers is a text for a
// person, of bounded length and without anything that a terminal would obey.
type model struct {
	cfg    DraftConfig
	client http.Client
}

// newModel makes a model that follows no redirect: the prompt goes where the
// operator said, and nowhere else.
func newModel(cfg DraftConfig) model {
	return model{cfg, http.Client{
		Timeout:       cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// ask tries once.
func (m *model) ask(ctx context.Context, prompt []message) (text string, err error) {
	body, err := json.Marshal(struct {
		Model    string    `json:"model"`
		Messages []message `json:"messages"`
	}{m.cfg.Model, prompt})
	if err != nil {
		return "", fmt.Errorf("encode prompt: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(m.cfg.URL, "/")+"/chat/completions", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	if m.cfg.KeyFile != "" { // read anew, so that a key can be replaced while triage runs
		key, err := readKey(m.cfg.KeyFile)
		if err != nil {
			return "", err
		}
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the model's endpoint answered with status %d", resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read the model's answer: %w", err)
	case len(raw) > maxAnswer:
		return "", fmt.Errorf("it is larger than %d bytes: %w", maxAnswer, errNonsense)
	}
	return textOf(raw)
}

// textOf takes the text out of an answer.
func textOf(answer []byte) (string, error) {
	var a struct {
		Choices []struct {
			Message struct {
				Content string `json:"content"`
			} `json:"message"`
		} `json:"choices"`
	}
	if json.Unmarshal(answer, &a) != nil || len(a.Choices) == 0 { // a parser's error would quote the answer in the log
		return "", errNonsense
	}
	text := cut(plain(a.Choices[0].Message.Content), command.MaxDraft)
	if text == "" {
		return "", errNonsense
	}
	return text, nil
}

// plain makes one line of s: white space and what a terminal takes for a command
// become a blank, and what is not seen, such as marks that turn the direction of
// writing, is left out.
func plain(s string) string {
	words := strings.FieldsFunc(strings.ToValidUTF8(s, ""), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.Join(words, " "))), " ")
}

// readKey reads a file that nobody but its owner may read.
func readKey(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("key_file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("key_file: %s has mode %04o, want 0600: others may read it", path, mode)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("key_file: %w", err)
	}
	key := strings.TrimSpace(string(raw))
	if key == "" || plain(key) != key { // net/http would quote a header that it refuses
		return "", fmt.Errorf("key_file: %s does not hold one line with a key", path)
	}
	return key, nil
}
