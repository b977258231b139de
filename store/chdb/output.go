package chdb

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
	chproto "github.com/ClickHouse/ch-go/proto"
)

// output is the answer to one request.
type output struct {
	s      *server
	w      http.ResponseWriter
	blocks *compress.Writer // nil: the answer is not compressed
	begun  bool
}

func (s *server) output(w http.ResponseWriter, req *request) *output {
	h := w.Header()
	h.Set("X-ClickHouse-Query-Id", req.id)
	h.Set("X-ClickHouse-Format", req.format)
	h.Set("X-ClickHouse-Timezone", s.zone)
	h.Set("X-ClickHouse-Exception-Tag", s.tag)
	h.Set("Content-Type", contentType(req.format))
	out := &output{s: s, w: w}
	if req.compress {
		out.blocks = compress.NewWriter(compress.LevelZero, compress.LZ4)
	}
	return out
}

func contentType(format string) string {
	switch {
	case strings.HasPrefix(format, "JSON"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(format, "CSV"):
		return "text/csv; charset=UTF-8"
	case strings.HasPrefix(format, "Tab"), strings.HasPrefix(format, "TSV"):
		return "text/tab-separated-values; charset=UTF-8"
	}
	return "application/octet-stream"
}

// summary tells what the statement read and wrote.
func (o *output) summary(st stats) {
	o.w.Header().Set("X-ClickHouse-Summary", fmt.Sprintf(`{"read_rows":"%d","read_bytes":"%d","written_rows":"%d","written_bytes":"%d"}`,
		st.readRows, st.readBytes, st.writtenRows, st.writtenBytes))
}

func (o *output) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	o.begun = true
	if o.blocks == nil {
		_, err := o.w.Write(p)
		return err
	}
	for len(p) > 0 {
		n := min(len(p), 1<<20)
		if err := o.blocks.Compress(p[:n]); err != nil {
			return err
		}
		if _, err := o.w.Write(o.blocks.Data); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// end ends a good answer.
func (o *output) end() error {
	if !o.begun {
		o.w.Header().Set("Content-Length", "0")
		o.w.WriteHeader(http.StatusOK)
	}
	return nil
}

// fail reports err: by status and body, or, where a part of the answer is
// already gone, as a framed exception after it.
func (o *output) fail(err error) {
	if !o.begun {
		o.s.fail(o.w, err)
		return
	}
	msg := o.s.message(err)
	o.s.ended(o.write(fmt.Appendf(nil, "\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", o.s.tag, msg, len(msg)+1, o.s.tag)))
}

// ended notes that a client did not take its answer to the end.
func (s *server) ended(err error) {
	if err != nil {
		s.log.Debug("answer not delivered", "err", err)
	}
}

func (s *server) plain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_, err := io.WriteString(w, text)
	s.ended(err)
}

// exceptionError is an error in the form of the engine's own.
type exceptionError struct {
	code  int
	name  string
	msg   string
	cause error // or nil
}

func exception(code int, name, msg string) error {
	return &exceptionError{code: code, name: name, msg: msg}
}

func (e *exceptionError) Error() string {
	return fmt.Sprintf("Code: %d. DB::Exception: %s. (%s)", e.code, e.msg, e.name)
}

func (e *exceptionError) Unwrap() error { return e.cause }

var exceptionCode = regexp.MustCompile(`^Code: (\d+)\.`)

// message is the text of an exception as a server sends it.
func (s *server) message(err error) string {
	msg := err.Error()
	if !strings.Contains(msg, "(version ") {
		msg += " (version " + s.version + ")"
	}
	return msg
}

// fail answers with an exception and the status that ClickHouse gives its code.
func (s *server) fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	h := w.Header()
	if m := exceptionCode.FindStringSubmatch(err.Error()); m != nil {
		h.Set("X-ClickHouse-Exception-Code", m[1])
		if code, err := strconv.Atoi(m[1]); err == nil {
			status = statusOf(code)
		}
	}
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		status = http.StatusRequestEntityTooLarge
	}
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	w.WriteHeader(status)
	_, err = io.WriteString(w, s.message(err)+"\n")
	s.ended(err)
}

// statusOf is the HTTP status that a ClickHouse server gives an error code.
func statusOf(code int) int {
	switch code {
	case 194: // REQUIRED_PASSWORD
		return http.StatusUnauthorized
	case 192, 193, 497, 516: // UNKNOWN_USER, WRONG_PASSWORD, ACCESS_DENIED, AUTHENTICATION_FAILED
		return http.StatusForbidden
	case 6, 25, 26, 27, 36, 38, 41, 42, 43, 44, 53, 62, 72, 117, 130, 456, 457:
		return http.StatusBadRequest
	case 16, 46, 47, 50, 56, 60, 73, 81, 115, 186, 292: // something unknown
		return http.StatusNotFound
	case 159: // TIMEOUT_EXCEEDED
		return http.StatusRequestTimeout
	case 66: // QUERY_IS_TOO_LARGE
		return http.StatusRequestEntityTooLarge
	case 48: // NOT_IMPLEMENTED
		return http.StatusNotImplemented
	case 202: // TOO_MANY_SIMULTANEOUS_QUERIES
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// helloBlock is the answer to [hello], as a Native block of the client's own
// protocol version. It claims revision 0, because that is what the engine
// writes from then on.
func helloBlock(version, zone string, protocol int) []byte {
	var b chproto.Buffer
	if protocol > 0 { // block info
		b.PutUVarInt(1)
		b.PutBool(false)
		b.PutUVarInt(2)
		b.PutInt32(-1)
		b.PutUVarInt(0)
	}
	b.PutUVarInt(4) // columns
	b.PutUVarInt(1) // rows
	column := func(name, kind string) {
		b.PutString(name)
		b.PutString(kind)
		if protocol >= 54454 {
			b.PutBool(false) // no custom serialisation
		}
	}
	column("displayName()", "String")
	b.PutString("stakeout-embedded")
	column("version()", "String")
	b.PutString(version)
	column("revision()", "UInt32")
	b.PutUInt32(0)
	column("timezone()", "String")
	b.PutString(zone)
	return b.Buf
}
