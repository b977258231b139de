package chdb

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// Whatever a client sends, it is taken apart without a panic; what runs as an
// insert is an INSERT and nothing besides, and settings stay within their quotes.
func FuzzRequest(f *testing.F) {
	f.Add("query=INSERT+INTO+t+FORMAT+Native&decompress=1&max_threads=1", []byte("\x01\x02"), "")
	f.Add("param_a=1&a%60%5C=x'%5C", []byte("SELECT {a:String}"), "gzip")
	f.Add("", []byte("INSERT INTO d.t (a, b) FORMAT CSV\n1,2\n"), "")
	f.Add("query=SELECT+1;+INSERT+INTO+t+FORMAT+CSV", []byte("1"), "identity")
	f.Add("client_protocol_version=54460&database=d&compress=1", []byte("SELECT 1"), "br")
	s := &server{tag: "x", version: "26.7", zone: "UTC"}
	f.Fuzz(func(t *testing.T, query string, body []byte, encoding string) {
		if _, err := url.ParseQuery(query); err != nil {
			return
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(body)))
		r.URL.RawQuery = query
		r.Header.Set("Content-Encoding", encoding)
		req, err := s.read(httptest.NewRecorder(), r)
		if err != nil {
			s.fail(httptest.NewRecorder(), err)
			return
		}
		if (req.rows == nil) != (req.insert == "") {
			t.Errorf("insert %q with rows %t", req.insert, req.rows != nil)
		}
		if req.rows != nil {
			if !strings.HasPrefix(strings.ToUpper(strings.TrimSpace(req.insert)), "INSERT") || !strings.Contains(req.sql, req.insert) {
				t.Errorf("insert %q of statement %q", req.insert, req.sql)
			}
			if _, err := io.Copy(io.Discard, req.rows); err != nil {
				return
			}
		}
		for _, set := range req.settings {
			if n := unescaped(set, '`'); n != 2 {
				t.Errorf("setting %s has %d backquotes of its own, want 2", set, n)
			}
		}
	})
}

// unescaped counts the quotes in s before its value that no backslash stands before.
func unescaped(s string, quote byte) (n int) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case quote:
			n++
		}
		if n == 2 {
			rest := s[i+1:]
			if !strings.HasPrefix(rest, " = '") || !strings.HasSuffix(rest, "'") {
				return -1
			}
			return n
		}
	}
	return n
}
