package chdb

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/ch-go/compress"
)

// server answers ClickHouse's HTTP interface from the engine.
type server struct {
	lib     *library
	args    []string // of every connection
	keep    *conn    // keeps the engine running and kills statements; guarded by killing
	killing chan struct{}

	user, password [sha256.Size]byte
	version, zone  string
	tag            string // marks an exception in the middle of a result
	slots          chan struct{}
	seq            atomic.Uint64
	log            *slog.Logger

	began    time.Time
	patience time.Duration // before it ends for a part that cannot be read
	broken   chan error    // why it is to end
	witness  *witness
}

const (
	maxStatement = 16 << 20  // of a statement with the rows it holds inline
	maxRequest   = 512 << 20 // of the rows of one INSERT, as sent
	slotWait     = 10 * time.Second
)

// hello is what clickhouse-go asks first.
const hello = "SELECT displayName(), version(), revision(), timezone()"

func newServer(lib *library, args []string, cfg ServeConfig, log *slog.Logger) (*server, error) {
	keep, err := lib.connectTo(args...)
	if err != nil {
		return nil, err
	}
	out, _, err := keep.query("SELECT version(), timezone()", "TSV", nil)
	if err != nil {
		keep.close()
		return nil, fmt.Errorf("ask the engine for its version: %w", err)
	}
	version, zone, _ := strings.Cut(strings.TrimSpace(string(out)), "\t")
	var tag [8]byte
	if _, err := rand.Read(tag[:]); err != nil {
		keep.close()
		return nil, err
	}
	return &server{
		lib: lib, args: args, keep: keep, killing: make(chan struct{}, 1),
		user: sha256.Sum256([]byte(cfg.User)), password: sha256.Sum256([]byte(cfg.Password)),
		version: version, zone: zone, tag: hex.EncodeToString(tag[:]),
		slots: make(chan struct{}, cfg.MaxQueries), log: log,
		began: time.Now(), patience: cfg.Patience, broken: make(chan error, 1), witness: newWitness(lib, args),
	}, nil
}

// ServeHTTP implements [http.Handler].
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ping" || r.URL.Path == "/" && r.URL.RawQuery == "" && r.Method == http.MethodGet {
		s.plain(w, "Ok.\n")
		return
	}
	if !s.admits(r) {
		s.fail(w, exception(516, "AUTHENTICATION_FAILED", "Authentication failed: password is incorrect, or there is no user with such name"))
		return
	}
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	req, err := s.read(w, r)
	if err != nil {
		s.fail(w, err)
		return
	}
	if strings.TrimSpace(req.sql) == hello && req.format == "Native" {
		out := s.output(w, req)
		s.ended(out.write(helloBlock(s.version, s.zone, req.protocol)))
		return
	}
	if err := s.enter(r.Context()); err != nil {
		s.fail(w, err)
		return
	}
	defer func() { <-s.slots }()
	s.run(w, r, req)
}

// admits tells whether the request carries the right user and password. The
// comparison takes the same time wherever they differ.
func (s *server) admits(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	if !ok {
		user, password = r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	}
	if user == "" && password == "" {
		q := r.URL.Query()
		user, password = q.Get("user"), q.Get("password")
	}
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(u[:], s.user[:])&subtle.ConstantTimeCompare(p[:], s.password[:]) == 1
}

// enter takes a slot, so that a crowd of requests waits instead of crowding the engine.
func (s *server) enter(ctx context.Context) error {
	timer := time.NewTimer(slotWait)
	defer timer.Stop()
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return exception(394, "QUERY_WAS_CANCELLED", "the client went away")
	case <-timer.C:
		return exception(202, "TOO_MANY_SIMULTANEOUS_QUERIES", fmt.Sprintf("Too many simultaneous queries. Maximum: %d", cap(s.slots)))
	}
}

// request is what a client asks for.
type request struct {
	id       string
	sql      string
	format   string   // of the answer
	protocol int      // version of the client's
	compress bool     // the answer
	settings []string // "name = 'value'"
	database string
	params   map[string]string // of {name:Type} placeholders

	insert     string    // INSERT without its FORMAT clause, or empty
	rowsFormat string    // its format
	rows       io.Reader // its rows
}

// read takes the request apart. The statement is the parameter query followed by
// the body, except that the body of an INSERT with a format is its rows.
func (s *server) read(w http.ResponseWriter, r *http.Request) (*request, error) {
	q := r.URL.Query()
	req := &request{id: q.Get("query_id"), sql: q.Get("query"), format: q.Get("default_format"), database: q.Get("database"), params: map[string]string{}}
	if req.id == "" {
		req.id = fmt.Sprintf("%s-%d", s.tag, s.seq.Add(1))
	}
	if req.format == "" {
		req.format = "TabSeparated"
	}
	if v := q.Get("client_protocol_version"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, exception(36, "BAD_ARGUMENTS", "client_protocol_version is not a number")
		}
		req.protocol = n
	}
	req.compress = q.Get("compress") == "1"
	req.settings, req.params = settings(q)

	var body io.Reader = http.MaxBytesReader(w, r.Body, maxRequest)
	switch enc := r.Header.Get("Content-Encoding"); enc {
	case "", "identity":
	case "gzip":
		gz, err := gzip.NewReader(body)
		if err != nil {
			return nil, exception(354, "ZLIB_INFLATE_FAILED", "the body is not gzip: "+err.Error())
		}
		body = gz
	default:
		return nil, exception(48, "NOT_IMPLEMENTED", "Content-Encoding "+enc+" is not supported, want gzip or none")
	}
	if q.Get("decompress") == "1" {
		body = blocks{compress.NewReader(body)}
	}
	return req, req.statement(body)
}

// statement finds the statement and the rows in the parameter query and the body.
func (req *request) statement(body io.Reader) error {
	br := bufio.NewReaderSize(body, 64<<10)
	if req.sql == "" {
		head, err := br.Peek(br.Size())
		if err != nil && !errors.Is(err, io.EOF) {
			return unreadable(err)
		}
		if m := insertHead.FindSubmatchIndex(head); m != nil {
			req.sql = string(head[:m[5]])
			req.insert, req.rowsFormat, req.rows = string(head[m[2]:m[3]]), string(head[m[4]:m[5]]), br
			if _, err := br.Discard(m[1]); err != nil {
				return unreadable(err)
			}
			return nil
		}
	} else if m := insertWhole.FindStringSubmatch(req.sql); m != nil {
		req.insert, req.rowsFormat, req.rows = m[1], m[2], br
		return nil
	}
	rest, err := io.ReadAll(io.LimitReader(br, maxStatement+1))
	if err != nil && !errors.Is(err, io.EOF) {
		return unreadable(err)
	}
	if len(rest) > maxStatement {
		return exception(62, "SYNTAX_ERROR", fmt.Sprintf("the statement is longer than %d bytes: send rows as INSERT ... FORMAT", maxStatement))
	}
	if req.sql != "" && len(rest) > 0 {
		req.sql += "\n"
	}
	req.sql += string(rest)
	return nil
}

func unreadable(err error) error {
	return &exceptionError{code: 32, name: "ATTEMPT_TO_READ_AFTER_EOF", msg: "the body cannot be read: " + err.Error(), cause: err}
}

// blocks gives the end of a compressed body its own error back: the reader of
// compressed blocks wraps it.
type blocks struct{ r *compress.Reader }

func (b blocks) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return n, err
}

// notSettings are the parameters of the HTTP interface that are not settings of the engine.
func notSetting(name string) bool {
	switch name {
	case "query", "database", "default_format", "client_protocol_version", "query_id", "quota_key", "session_id", "session_timeout", "session_check",
		"user", "password", "role", "compress", "decompress", "stacktrace", "buffer_size", "wait_end_of_query", "close_session",
		"enable_http_compression", markSetting:
		return true
	}
	return false
}

// settings divides the URL's parameters into settings and the values of placeholders.
func settings(q url.Values) (sets []string, params map[string]string) {
	params = map[string]string{}
	for name, values := range q {
		switch param, ok := strings.CutPrefix(name, "param_"); {
		case ok:
			params[param] = values[0]
		case !notSetting(name):
			sets = append(sets, identifier(name)+" = "+literal(values[0]))
		}
	}
	return sets, params
}

func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func identifier(s string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(s) + "`"
}
