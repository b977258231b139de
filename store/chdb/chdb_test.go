package chdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"
)

func TestClient(t *testing.T) {
	e := start(t, t.TempDir())
	conn := connect(t, e, "")
	if err := conn.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	do(t, conn, "CREATE DATABASE d ENGINE = Atomic")
	conn = connect(t, e, "d")
	do(t, conn, `CREATE TABLE rows (id UInt64, name LowCardinality(String), tags Array(String), args Map(String, Array(String)), cost Nullable(Float64), at DateTime64(9, 'UTC'))
		ENGINE = ReplacingMergeTree ORDER BY id`)

	t.Run("batch", func(t *testing.T) {
		const n = 100_000
		for range 2 { // the second replaces the first
			batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO rows (id, name, tags, args, cost, at)")
			if err != nil {
				t.Fatal(err)
			}
			cost := 0.5
			for i := range uint64(n) {
				at := time.Unix(1_700_000_000, int64(i)).UTC()
				if err := batch.Append(i, "n\n\n"+fmt.Sprint(i%7), []string{"a", "b"}, map[string][]string{"k": {"v"}}, &cost, at); err != nil {
					t.Fatal(err)
				}
			}
			if err := batch.Send(); err != nil {
				t.Fatal(err)
			}
		}
		var rows, names, bits uint64
		row := conn.QueryRow(t.Context(), "SELECT count(), uniqExact(name), groupBitXor(toUnixTimestamp64Nano(at)) FROM rows FINAL")
		if err := row.Scan(&rows, &names, new(int64)); err != nil {
			t.Fatal(err)
		}
		if rows != n || names != 7 {
			t.Errorf("stored %d rows, %d names, %d; want %d rows, 7 names", rows, names, bits, n)
		}
	})
	t.Run("parameters", func(t *testing.T) {
		want := "it's a \\ back\\nslash,\na tab\t and {a:String}"
		var got string
		if err := conn.QueryRow(t.Context(), "SELECT {a:String}", clickhouse.Named("a", want)).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("named parameter = %q, want %q", got, want)
		}
		if err := conn.QueryRow(t.Context(), "SELECT ?", want).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("positional parameter = %q, want %q", got, want)
		}
	})
	t.Run("long result", func(t *testing.T) {
		rows, err := conn.Query(t.Context(), "SELECT number FROM numbers(1000000)")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		n := uint64(0)
		for rows.Next() {
			var v uint64
			if err := rows.Scan(&v); err != nil || v != n {
				t.Fatalf("row %d = %d, %v", n, v, err)
			}
			n++
		}
		if err := rows.Err(); err != nil || n != 1_000_000 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
	t.Run("empty result", func(t *testing.T) {
		rows, err := conn.Query(t.Context(), "SELECT id FROM rows WHERE id > 1000000000")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		if rows.Next() || rows.Err() != nil {
			t.Errorf("a row, or %v", rows.Err())
		}
	})
	t.Run("error in the middle", func(t *testing.T) {
		rows, err := conn.Query(t.Context(), "SELECT throwIf(number = 900000, 'enough') FROM numbers(1000000) SETTINGS max_block_size = 10000")
		if err == nil {
			for rows.Next() {
			}
			err = errors.Join(rows.Err(), rows.Close())
		}
		wantException(t, err, 395)
	})
	t.Run("settings", func(t *testing.T) {
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_result_rows": 10}))
		rows, err := conn.Query(ctx, "SELECT number FROM numbers(100)")
		if err == nil {
			for rows.Next() {
			}
			err = errors.Join(rows.Err(), rows.Close())
		}
		wantException(t, err, 396)
	})
}

func wantException(t *testing.T, err error, code int32) {
	t.Helper()
	var ex *clickhouse.Exception
	if !errors.As(err, &ex) || ex.Code != code {
		t.Errorf("error = %v, want an exception with code %d", err, code)
	}
}

func TestRefusals(t *testing.T) {
	e := start(t, t.TempDir())
	conn := connect(t, e, "")
	do(t, conn, "CREATE DATABASE d ENGINE = Atomic")
	do(t, conn, "CREATE TABLE d.t (a String) ENGINE = MergeTree ORDER BY a")
	do(t, conn, "INSERT INTO d.t VALUES ('x')")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(sql string, code int32) {
		t.Helper()
		err := conn.Exec(t.Context(), strings.ReplaceAll(sql, "SECRET", secret))
		if err == nil {
			t.Errorf("%s: ran", sql)
			return
		}
		var ex *clickhouse.Exception
		if !errors.As(err, &ex) || ex.Code != code {
			t.Errorf("%s: %v, want code %d", sql, err, code)
		}
	}
	f("SELECT 1; SELECT 2", 62)
	f("SELECT 1; DROP TABLE d.t; garbage", 62)
	f("SELEC 1; DROP TABLE d.t", 62)
	f("DROP TABLE d.t PARALLEL WITH DROP TABLE d.u", 62)
	f("SELEC 1", 62)
	f("", 62)
	f("SYSTEM SHUTDOWN", 497)
	f("SYSTEM FLUSH LOGS", 497)
	f("SET max_threads = 1", 497)
	f("CREATE USER u", 497)
	f("CREATE FUNCTION f AS x -> x", 497)
	f("BACKUP DATABASE d TO File('/tmp/x')", 497)
	f("SELECT * FROM d.t INTO OUTFILE 'SECRET.out'", 497)
	f("INSERT INTO d.t FROM INFILE 'SECRET' FORMAT TSV", 497)
	f("INSERT INTO FUNCTION file('SECRET.out', 'TSV', 'a String') SELECT 'x'", 497)
	f("SELECT * FROM file('SECRET', 'TSV', 'a String')", 497)
	f("SELECT file('SECRET')", 497)
	f("SELECT FILE ('SECRET')", 497)
	f("SELECT `file`/**/('SECRET')", 497)
	f("SELECT `\\x66ile`('SECRET')", 497)
	f("CREATE VIEW d.v AS SELECT file('SECRET') AS a", 497)
	f("ALTER TABLE d.t UPDATE a = file('SECRET') WHERE 1", 497)
	f("CREATE TABLE d.u (a String DEFAULT file('SECRET')) ENGINE = Memory", 497)
	f("SELECT * FROM eval('SELECT file(\\'SECRET\\')')", 497)
	f("SELECT * FROM url('http://127.0.0.1:1/', 'TSV', 'a String')", 497)
	f("SELECT * FROM remote('127.0.0.1', 'system', 'one')", 497)
	f("SELECT * FROM s3('http://127.0.0.1:1/bucket/x')", 497)
	f("CREATE TABLE d.u (a String) ENGINE = URL('http://127.0.0.1:1/', 'TSV')", 497)
	f("CREATE TABLE d.u (a String) ENGINE = File(TSV, 'SECRET')", 497)
	f("CREATE DATABASE e ENGINE = Filesystem('/')", 497)
	f("CREATE DICTIONARY d.x (a String) PRIMARY KEY a SOURCE(FILE(path 'SECRET' format 'TSV')) LIFETIME(0) LAYOUT(FLAT())", 497)
	f("SELECT * FROM default.`SECRET`", 497)
	f("SELECT * FROM d.nope", 60)
	f("SELECT nope(1)", 46)
	f("INSERT INTO d.t VALUES (", 62)

	if e.Confined() { // no grant and no syntax tree shows this one, but the kernel does not open the file
		f("SELECT * FROM format(JSONEachRow, concat('a String, b String DEFAULT fi', 'le(\\'SECRET\\')'), '{\"a\":\"x\"}')", 76)
		f("SELECT * FROM format(JSONEachRow, concat('a String, b String DEFAULT fi', 'le(\\'"+e.PasswordFile()+"\\')'), '{\"a\":\"x\"}')", 76)
	}

	var n uint64
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM d.t").Scan(&n); err != nil || n != 1 {
		t.Errorf("the table holds %d rows, %v; want 1", n, err)
	}
}

func TestHTTP(t *testing.T) {
	e := start(t, t.TempDir())
	base := "http://" + e.Addr() + "/"
	f := func(name, user, password, query, body string, status int, code, want string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, base+query, strings.NewReader(body))
		if body == "" {
			req, err = http.NewRequest(http.MethodGet, base+query, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			req.SetBasicAuth(user, password)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != status || resp.Header.Get("X-ClickHouse-Exception-Code") != code || !strings.Contains(string(got), want) {
			t.Errorf("%s: %d, code %s, %q; want %d, code %s, %q", name, resp.StatusCode, resp.Header.Get("X-ClickHouse-Exception-Code"), got, status, code, want)
		}
	}
	q := func(kv ...string) string {
		v := url.Values{}
		for i := 0; i < len(kv); i += 2 {
			v.Set(kv[i], kv[i+1])
		}
		return "?" + v.Encode()
	}
	u, p := e.config.User, e.config.Password
	f("ping", "", "", "ping", "", 200, "", "Ok.\n")
	f("no password", "", "", q("query", "SELECT 1"), "", 403, "516", "AUTHENTICATION_FAILED")
	f("wrong password", u, "x", q("query", "SELECT 1"), "", 403, "516", "AUTHENTICATION_FAILED")
	f("wrong user", "default", p, q("query", "SELECT 1"), "", 403, "516", "AUTHENTICATION_FAILED")
	f("password in the URL", "", "", q("query", "SELECT 1", "user", u, "password", p), "", 200, "", "1\n")
	f("another path", u, p, "play", "", 404, "", "")
	f("get", u, p, q("query", "SELECT 1+1"), "", 200, "", "2\n")
	f("post", u, p, "", "SELECT 1+1", 200, "", "2\n")
	f("query and body", u, p, q("query", "SELECT"), "1+1", 200, "", "2\n")
	f("format", u, p, q("query", "SELECT 1 AS a FORMAT JSON"), "", 200, "", `"rows": 1`)
	f("default format", u, p, q("query", "SELECT 1 AS a", "default_format", "CSVWithNames"), "", 200, "", "\"a\"\n1\n")
	f("parameter", u, p, q("query", "SELECT {a:UInt8} + 1", "param_a", "2"), "", 200, "", "3\n")
	f("setting", u, p, q("query", "SELECT getSetting('max_threads')", "max_threads", "3"), "", 200, "", "3\n")
	f("unknown setting", u, p, q("query", "SELECT 1", "nonsense", "1"), "", 404, "115", "UNKNOWN_SETTING")
	f("setting with a quote", u, p, q("query", "SELECT 1", "max_threads", "1', readonly = '1"), "", 400, "27", "")
	f("unknown database", u, p, q("query", "SELECT 1", "database", "nope"), "", 404, "81", "UNKNOWN_DATABASE")
	f("create", u, p, q("query", "CREATE DATABASE d ENGINE = Atomic"), "x", 400, "62", "SYNTAX_ERROR")
	f("create", u, p, "", "CREATE DATABASE d ENGINE = Atomic", 200, "", "")
	f("create table", u, p, q("database", "d"), "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a", 200, "", "")
	f("insert values", u, p, q("database", "d"), "INSERT INTO t VALUES (1),(2)", 200, "", "")
	f("insert inline", u, p, q("database", "d"), "INSERT INTO t FORMAT JSONEachRow\n{\"a\":3}\n\n{\"a\":4}\n", 200, "", "")
	f("insert columns inline", u, p, q("database", "d"), "INSERT INTO d.t (a) FORMAT CSV\n5\n6\n", 200, "", "")
	f("insert body", u, p, q("database", "d", "query", "INSERT INTO t FORMAT TSV"), "7\n8\n", 200, "", "")
	f("insert nonsense", u, p, q("database", "d", "query", "INSERT INTO t FORMAT TSV"), "x\n", 400, "27", "")
	f("sum", u, p, q("query", "SELECT count(), sum(a) FROM d.t"), "", 200, "", "8\t36\n")
	f("too long", u, p, "", "SELECT '"+strings.Repeat("x", maxStatement)+"'", 400, "62", "longer")
	f("content encoding", u, p, q("compress", "2", "client_protocol_version", "x"), "SELECT 1", 400, "36", "")
}

// A cut upload stores nothing.
func TestCutUpload(t *testing.T) {
	e := start(t, t.TempDir())
	conn := connect(t, e, "")
	do(t, conn, "CREATE DATABASE d ENGINE = Atomic")
	do(t, conn, "CREATE TABLE d.t (a String) ENGINE = MergeTree ORDER BY a")
	pr, pw := io.Pipe()
	go func() {
		_, err := pw.Write(bytes.Repeat([]byte("row\n"), 1<<20))
		pw.CloseWithError(errors.Join(errors.New("cut"), err))
	}()
	req, err := http.NewRequest(http.MethodPost, e.URL()+"/?query=INSERT+INTO+d.t+FORMAT+TSV", pr)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		t.Errorf("a cut upload was answered with %s", resp.Status)
		resp.Body.Close()
	}
	var n uint64
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM d.t").Scan(&n); err != nil || n != 0 {
		t.Errorf("the table holds %d rows, %v; want none", n, err)
	}
}

// A client that goes away takes its statement with it.
func TestCancel(t *testing.T) {
	e := start(t, t.TempDir())
	conn := connect(t, e, "")
	const slow = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number), 'slow one') SETTINGS max_threads = 1, max_execution_time = 0, log_comment = 'mine'"
	running := func() (n uint64) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM system.processes WHERE query LIKE '%slow one%' AND query NOT LIKE '%processes%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- connect(t, e, "").Exec(ctx, slow) }()
	eventually(t, "the statement runs", func() bool { return running() == 1 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want the cancelation", err)
	}
	eventually(t, "the statement is gone", func() bool { return running() == 0 })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestFind(t *testing.T) {
	lib := filepath.Join(t.TempDir(), "libchdb.so")
	t.Setenv(LibraryEnv, lib)
	if _, err := Find(); err == nil || !strings.Contains(err.Error(), "npm ci") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Find without the library: %v, want one line that says how to get it", err)
	}
	if err := os.WriteFile(lib, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(); err != nil || got != lib {
		t.Errorf("Find() = %q, %v; want %q", got, err, lib)
	}
	data, wd := t.TempDir(), t.TempDir()
	t.Setenv(LibraryEnv, "")
	t.Setenv("XDG_DATA_HOME", data)
	t.Chdir(wd)
	if _, err := Find(); err == nil || !strings.Contains(err.Error(), "store.url") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Find with nothing installed: %v, want one line that says how to get it", err)
	}
	if diff := cmp.Diff(above("/a/b", "c"), []string{"/a/b/c", "/a/c", "/c"}); diff != "" {
		t.Error(diff)
	}
	npm := filepath.Join(wd, "store/chdb/node_modules/@chdb", npmPackage())
	if err := os.MkdirAll(npm, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(npm, "libchdb.so"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(); err != nil || got != filepath.Join(npm, "libchdb.so") {
		t.Errorf("Find() = %q, %v; want the one of npm", got, err)
	}
}
