package dashboards

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/store"
	"github.com/stakeout-project/stakeout/store/chdb/chdbtest"
)

// TestMain lets the test binary be the engine's process.
func TestMain(m *testing.M) {
	chdbtest.Child()
	os.Exit(m.Run())
}

// schema starts a ClickHouse engine with our tables, and connects to it as
// Grafana's data source does.
func schema(t *testing.T) driver.Conn {
	t.Helper()
	e := chdbtest.Start(t, t.TempDir(), "127.0.0.1:0")
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	cfg := store.DefaultConfig()
	cfg.URL = e.URL()
	s, err := store.Open(t.Context(), cfg, prom.NewRegistry(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	opt, err := clickhouse.ParseDSN(e.URL() + "/" + cfg.Database)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// scene is one agent's short story: rows as the store writes them, one of them twice.
const scene = `
INSERT INTO events (time, name, agent, id, session, effect, privilege, tool, ingested) VALUES
  (now64(9) - 60, 'tool.call', 'o''malley\\', 'e1', 's', 'send', 'mail:send', 'mail', now64(3) - 59),
  (now64(9) - 60, 'tool.call', 'o''malley\\', 'e1', 's', 'send', 'mail:send', 'mail', now64(3) - 59),
  (now64(9) - 50, 'model.call', 'o''malley\\', 'e2', 's', '', '', '', now64(3) - 49);
INSERT INTO findings (id, detector, threat, severity, time, agent, session, reason, observed, baseline, p_value, level, event, ingested) VALUES
  ('f1', 'first_use', 'privilege-drift', 4, now64(9) - 60, 'o''malley\\', 's', 'first use', 'mail:send', 'never', 0.001, 0.002, 'e1', now64(3) - 59);
INSERT INTO actions (id, incident, kind, mode, agent, findings, occurred, decided, status, time, ingested, version) VALUES
  ('a1', 'i1', 'revoke_token', 'auto', 'o''malley\\', ['f1'], now64(9) - 60, now64(9) - 58, 'verified', now64(9) - 55, now64(3) - 55, 3);
INSERT INTO action_history (id, agent, kind, mode, status, occurred, time, ingested) VALUES
  ('a1', 'o''malley\\', 'revoke_token', 'auto', 'commanded', now64(9) - 60, now64(9) - 57, now64(3) - 57),
  ('a1', 'o''malley\\', 'revoke_token', 'auto', 'verified', now64(9) - 60, now64(9) - 55, now64(3) - 55);
INSERT INTO profiles (agent, role, state, events, first, last, privileges, ingested, version, deleted) VALUES
  ('o''malley\\', 'clerk', 'active', 9, now64(9) - 86400 * 2, now64(9) - 50, 1, now64(3), 1, 0)`

const sceneAgent = `o'malley\`

// insert stores rows as of one moment: the engine's clock goes on between two statements,
// on a busy machine by more than the figures allow.
func insert(t *testing.T, conn driver.Conn, rows string, at time.Time) {
	t.Helper()
	moment := func(digits int) string {
		return fmt.Sprintf("fromUnixTimestamp64Nano(toInt64(%d), 'UTC')", at.Truncate(time.Duration(math.Pow10(9-digits))).UnixNano())
	}
	rows = strings.NewReplacer("now64(9)", moment(9), "now64(3)", moment(3)).Replace(rows)
	for statement := range strings.SplitSeq(rows, ";\n") {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// expand does to a query what Grafana and its ClickHouse data source do:
// variables first, then macros.
func expand(t *testing.T, sql string, from, to time.Time) string {
	t.Helper()
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" } // ${name:sqlstring}
	hex := strings.ToUpper(fmt.Sprintf("%x", sceneAgent))
	sql = strings.NewReplacer("${agent:sqlstring}", quote(hex), "${budget}", "0.01").Replace(sql)
	seconds := func(t time.Time) string { return fmt.Sprintf("toDateTime(%d)", t.Unix()) }
	sql = timeFilter.ReplaceAllString(sql, "$1 >= "+seconds(from)+" AND $1 <= "+seconds(to))
	sql = timeInterval.ReplaceAllString(sql, "toStartOfInterval(toDateTime($1), INTERVAL 30 second)")
	sql = strings.NewReplacer("$__fromTime", seconds(from), "$__toTime", seconds(to), "$__interval_s", "30").Replace(sql)
	if strings.Contains(sql, "$") {
		t.Errorf("a macro or a variable is not known here: %s", sql)
	}
	return sql
}

var (
	timeFilter   = regexp.MustCompile(`\$__timeFilter\(([^()]+)\)`)
	timeInterval = regexp.MustCompile(`\$__timeInterval\(([^()]+)\)`)
)

// TestQueries runs every ClickHouse query of every dashboard against the real
// engine: over empty tables, and over a scene that every one of them can see.
func TestQueries(t *testing.T) {
	conn := schema(t)
	from, to := time.Now().Add(-7*24*time.Hour), time.Now().Add(time.Minute)
	type query struct {
		where, sql string
		series     bool
	}
	var queries []query
	for name, b := range boards(t) {
		for _, v := range b.Templating.List {
			if v.Type != "query" {
				continue
			}
			var q struct {
				SQL string `json:"rawSql"`
			}
			if err := json.Unmarshal(v.Query, &q); err != nil || q.SQL == "" {
				t.Errorf("%s: variable %s asks %s: %v", name, v.Name, v.Query, err)
			}
			queries = append(queries, query{name + ", variable " + v.Name, expand(t, q.SQL, from, to), false})
		}
		for _, p := range b.Panels {
			for _, q := range p.Targets {
				if q.SQL != "" {
					queries = append(queries, query{name + ", " + p.Title + ", " + q.RefID, expand(t, q.SQL, from, to), q.Format == 0})
				}
			}
		}
	}
	if len(queries) < 15 {
		t.Fatalf("%d queries found, want those of all dashboards", len(queries))
	}
	for _, q := range queries {
		if _, err := count(t, conn, q.sql, q.series); err != nil {
			t.Errorf("%s, over empty tables: %v\n%s", q.where, err, q.sql)
		}
	}
	insert(t, conn, scene, time.Now())
	for _, q := range queries {
		n, err := count(t, conn, q.sql, q.series)
		if err != nil {
			t.Errorf("%s: %v\n%s", q.where, err, q.sql)
		} else if n == 0 {
			t.Errorf("%s: shows nothing of the scene\n%s", q.where, q.sql)
		}
	}
}

// count runs a query and counts its rows. What a graph shows must begin with a
// time, in order, or Grafana does not draw it.
func count(t *testing.T, conn driver.Conn, sql string, series bool) (n int, err error) {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		return 0, err
	}
	defer func() {
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
	}()
	columns := rows.ColumnTypes()
	var last time.Time
	for ; rows.Next(); n++ {
		values := make([]any, len(columns))
		for i, c := range columns {
			values[i] = reflect.New(c.ScanType()).Interface()
		}
		if err := rows.Scan(values...); err != nil {
			return n, err
		}
		if !series {
			continue
		}
		at, ok := values[0].(*time.Time)
		if !ok || columns[0].Name() != "time" {
			return n, fmt.Errorf("the first column is %s of %s, want time", columns[0].Name(), columns[0].DatabaseTypeName())
		}
		if at.Before(last) {
			return n, fmt.Errorf("times are out of order: %s after %s", at, last)
		}
		last = *at
	}
	return n, rows.Err()
}

// TestSceneFigures holds the headline figures to what the scene says.
func TestSceneFigures(t *testing.T) {
	conn := schema(t)
	insert(t, conn, scene, time.Now())
	from, to := time.Now().Add(-7*24*time.Hour), time.Now().Add(time.Minute)
	sql := func(title string) string {
		for _, p := range boards(t)["fleet.json"].Panels {
			if p.Title == title {
				return expand(t, p.Targets[0].SQL, from, to)
			}
		}
		t.Fatalf("no panel %q", title)
		return ""
	}
	f := func(title string, least, most float64) {
		t.Helper()
		var got float64
		if err := conn.QueryRow(t.Context(), "SELECT toFloat64(*) FROM ("+sql(title)+")").Scan(&got); err != nil {
			t.Errorf("%s: %v", title, err)
		} else if got < least || got > most {
			t.Errorf("%s: is %g, want %g to %g", title, got, least, most)
		}
	}
	f("Findings per agent-day", 0.49, 0.51) // one finding in two days of one agent
	f("Coverage", 1, 1)

	rows, err := conn.Query(t.Context(), "SELECT step, toFloat64(p50) FROM ("+sql("Dwell time, step by step")+") ORDER BY step")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for rows.Next() {
		var step string
		var p50 float64
		if err := rows.Scan(&step, &p50); err != nil {
			t.Fatal(err)
		}
		got[step] = p50
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for step, want := range map[string]float64{"1 event to Kafka": 1, "2 Kafka to decision": 1, "3 decision to commanded": 1, "4 commanded to verified": 2, "event to verified": 5} {
		if d := got[step] - want; d < -0.1 || d > 0.1 {
			t.Errorf("%s: took %g s, want %g", step, got[step], want)
		}
	}
	t.Run("canaries", func(t *testing.T) { testCanaries(t, conn, from, to) })
}

// canary is what is stored of an agent of ours that misbehaves to see whether anybody notices.
const canary = `
INSERT INTO findings (id, detector, threat, severity, time, agent, session, reason, observed, baseline, p_value, level, event, ingested) VALUES
  ('f2', 'entitlement', 'confused-deputy', 4, now64(9) - 40, 'stakeout-canary-1', 's', 'not entitled', 'canary:pay', 'never', 0.001, 0.002, 'e3', now64(3) - 39),
  ('f3', 'first_use', 'privilege-drift', 4, now64(9) - 40, 'stakeout-canary-1', 's', 'first use', 'canary:pay', 'never', 0.001, 0.002, 'e3', now64(3) - 39);
INSERT INTO actions (id, incident, kind, mode, agent, findings, occurred, decided, status, time, ingested, version) VALUES
  ('a2', '', 'canary', 'auto', 'stakeout-canary-1', ['f2'], now64(9) - 40, now64(9) - 38, 'verified', now64(9) - 35, now64(3) - 35, 3);
INSERT INTO action_history (id, agent, kind, mode, status, occurred, time, ingested) VALUES
  ('a2', 'stakeout-canary-1', 'canary', 'auto', 'commanded', now64(9) - 40, now64(9) - 37, now64(3) - 37),
  ('a2', 'stakeout-canary-1', 'canary', 'auto', 'verified', now64(9) - 40, now64(9) - 35, now64(3) - 35);
INSERT INTO profiles (agent, role, state, events, first, last, privileges, ingested, version, deleted) VALUES
  ('stakeout-canary-1', 'stakeout-canary', 'active', 361, now64(9) - 86400 * 60, now64(9) - 40, 2, now64(3), 1, 0)`

// testCanaries holds every figure of Fleet to what it was before a canary came: each
// brings two months of its own and two findings, and there are a hundred a day.
func testCanaries(t *testing.T, conn driver.Conn, from, to time.Time) {
	tell := func() map[string]string {
		told := map[string]string{}
		for _, p := range boards(t)["fleet.json"].Panels {
			for _, q := range p.Targets {
				told[p.Title+", "+q.RefID] = answer(t, conn, expand(t, q.SQL, from, to))
			}
		}
		return told
	}
	want := tell()
	insert(t, conn, canary, time.Now())
	if diff := cmp.Diff(want, tell()); diff != "" {
		t.Errorf("what Fleet shows without and with a canary (-without +with):\n%s", diff)
	}
}

// answer runs a query and prints its rows.
func answer(t *testing.T, conn driver.Conn, sql string) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	var b strings.Builder
	for rows.Next() {
		var cells []any
		for _, c := range rows.ColumnTypes() {
			cells = append(cells, reflect.New(c.ScanType()).Interface())
		}
		if err := rows.Scan(cells...); err != nil {
			t.Fatal(err)
		}
		for _, c := range cells {
			v := reflect.ValueOf(c).Elem()
			for v.Kind() == reflect.Pointer && !v.IsNil() {
				v = v.Elem()
			}
			fmt.Fprintf(&b, "%v\t", v)
		}
		b.WriteByte('\n')
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
