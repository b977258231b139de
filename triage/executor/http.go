package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxBody bounds what we read of any answer, in bytes.
const maxBody = 64 << 10

// newClient makes a client that follows no redirect: a secret goes where the
// operator said, and nowhere else.
func newClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// checkURL allows https anywhere and http on this machine.
func checkURL(key, raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return fmt.Errorf("%s: is not a plain URL, want https://host/path", key)
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("%s: has the scheme %q, want https", key, u.Scheme)
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s: is http to another machine, want https", key)
	}
	return nil
}

// readSecret reads a file that nobody but its owner may read.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("%s has mode %04o, want 0600: others may read it", path, mode)
	}
	if info.Size() > maxBody {
		return "", fmt.Errorf("%s is %d bytes, want at most %d", path, info.Size(), maxBody)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	s := strings.TrimSpace(string(raw))
	if s == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return s, nil
}

var errOversized = errors.New("the answer is too large")

// drain reads an answer of bounded size and closes it.
func drain(resp *http.Response) (body []byte, err error) {
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		return nil, errOversized
	}
	return body, err
}

// retryAfter reads how long a server wants to be left alone; otherwise it is other.
func retryAfter(h http.Header, now time.Time, other time.Duration) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n >= 0 && n < 1e6 {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, at.Sub(now))
	}
	return other
}

// pause waits for d. It returns false, at once, if ctx would end before.
func pause(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// reason says why a request had no answer, without its URL.
func reason(err error) string {
	var e *url.Error
	if errors.As(err, &e) {
		if e.Timeout() {
			return "it did not answer in time"
		}
		err = e.Err
	}
	return err.Error()
}
