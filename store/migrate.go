package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step of the schema. Its statements may be run again, and by
// two processes at once: ClickHouse has no transaction over several of them.
type migration struct {
	version    uint32
	name       string
	checksum   string
	statements []string
}

// migrations reads the steps in dir, 0001_name.sql and so on, without a gap.
func migrations(dir fs.FS) ([]migration, error) {
	files, err := fs.Glob(dir, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all []migration
	for i, file := range files {
		number, name, ok := strings.Cut(strings.TrimSuffix(path.Base(file), ".sql"), "_")
		version, err := strconv.ParseUint(number, 10, 32)
		if !ok || err != nil || version != uint64(i+1) {
			return nil, fmt.Errorf("migration %s: want %04d_name.sql", file, i+1)
		}
		b, err := fs.ReadFile(dir, file)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		all = append(all, migration{uint32(version), name, hex.EncodeToString(sum[:]), split(string(b))})
	}
	return all, nil
}

// split divides a file into statements: a semicolon at the end of a line ends
// one, and a line that begins with two hyphens is a comment.
func split(file string) []string {
	var lines []string
	for line := range strings.Lines(file) {
		if !strings.HasPrefix(strings.TrimSpace(line), "--") {
			lines = append(lines, line)
		}
	}
	var statements []string
	for s := range strings.SplitSeq(strings.Join(lines, ""), ";\n") {
		if s = strings.TrimSpace(s); s != "" {
			statements = append(statements, s)
		}
	}
	return statements
}

const createMigrations = `CREATE TABLE IF NOT EXISTS schema_migrations (
	version UInt32, name String, checksum String, applied DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree ORDER BY version`

// Migrate brings the database to the schema of this binary, from whatever
// earlier one, and sets how long rows are kept. It refuses a database that a
// newer binary has migrated, and one whose schema was made by other statements
// than this binary holds. Running it again, or in two processes at once, is harmless.
func (s *Store) Migrate(ctx context.Context) error {
	all, err := migrations(migrationFiles)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", s.cfg.Database, err)
	}
	if err := s.migrate(ctx, all); err != nil {
		return fmt.Errorf("migrate %s: %w", s.cfg.Database, err)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context, all []migration) error {
	// An identifier cannot be a parameter; Validate lets only plain names through.
	if err := define(ctx, s.admin.Exec, "CREATE DATABASE IF NOT EXISTS "+s.cfg.Database+" ENGINE = Atomic"); err != nil {
		return err
	}
	if err := define(ctx, s.conn.Exec, createMigrations); err != nil {
		return err
	}
	applied, err := s.applied(ctx)
	if err != nil {
		return err
	}
	for version, a := range applied {
		if int(version) > len(all) {
			return fmt.Errorf("the database has schema version %d (%s), this binary knows versions up to %d: use a newer stakeout", version, a.name, len(all))
		}
	}
	for _, m := range all {
		if a, ok := applied[m.version]; ok {
			if a.checksum != m.checksum {
				return fmt.Errorf("version %d (%s) was applied in another form: its checksum is %.12s…, this binary's is %.12s…", m.version, m.name, a.checksum, m.checksum)
			}
			continue
		}
		if err := s.apply(ctx, m); err != nil {
			return fmt.Errorf("version %d (%s): %w", m.version, m.name, err)
		}
		s.log.Info("schema migrated", "version", m.version, "name", m.name)
	}
	return s.retain(ctx)
}

// applied reads which migrations the database has seen.
func (s *Store) applied(ctx context.Context) (map[uint32]migration, error) {
	rows, err := s.conn.Query(ctx, "SELECT version, name, checksum FROM schema_migrations FINAL")
	if err != nil {
		return nil, err
	}
	applied := map[uint32]migration{}
	err = each(rows, func() error {
		var m migration
		if err := rows.Scan(&m.version, &m.name, &m.checksum); err != nil {
			return err
		}
		applied[m.version] = m
		return nil
	})
	return applied, err
}

func (s *Store) apply(ctx context.Context, m migration) error {
	for _, statement := range m.statements {
		if err := define(ctx, s.conn.Exec, statement); err != nil {
			return err
		}
	}
	batch, err := s.conn.PrepareBatch(ctx, "INSERT INTO schema_migrations (version, name, checksum, applied)")
	if err != nil {
		return err
	}
	if err := batch.Append(m.version, m.name, m.checksum, time.Now()); err != nil {
		return errors.Join(err, batch.Abort())
	}
	return batch.Send()
}

// define runs a statement of the schema. IF NOT EXISTS is not atomic: of two
// processes that create the same thing at once, one may be told that it exists.
func define(ctx context.Context, exec func(ctx context.Context, query string, args ...any) error, statement string) error {
	err := exec(ctx, statement)
	for range 5 {
		var ex *clickhouse.Exception
		if !errors.As(err, &ex) || ex.Code != 57 && ex.Code != 82 { // TABLE_ALREADY_EXISTS, DATABASE_ALREADY_EXISTS
			break
		}
		err = exec(ctx, statement)
	}
	return err
}

// retain sets the tables' TTL where it is not what the configuration says. It
// counts from ingest: old logs that are read in today are kept like today's.
func (s *Store) retain(ctx context.Context) error {
	rows, err := s.conn.Query(ctx, "SELECT name, engine_full FROM system.tables WHERE database = {database:String}", clickhouse.Named("database", s.cfg.Database))
	if err != nil {
		return err
	}
	engines := map[string]string{}
	err = each(rows, func() error {
		var name, engine string
		if err := rows.Scan(&name, &engine); err != nil {
			return err
		}
		engines[name] = engine
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range s.cfg.Retention.tables() {
		for _, table := range r.tables {
			engine, change := engines[table], ""
			ttl := fmt.Sprintf("TTL toDateTime(ingested) + toIntervalDay(%d)", r.days)
			has := strings.Contains(engine, " TTL ")
			switch {
			case r.days == 0 && has:
				change = "REMOVE TTL"
			case r.days > 0 && !hasClause(engine, ttl):
				change = "MODIFY " + ttl
			default:
				continue
			}
			// What is due goes with the next merges; rewriting all parts at once would stall a large table.
			if err := s.conn.Exec(ctx, "ALTER TABLE "+table+" "+change+" SETTINGS materialize_ttl_after_modify = 0"); err != nil {
				return fmt.Errorf("retention.%s: %w", r.key, err)
			}
			s.log.Info("retention set", "table", table, "days", cmp.Or(fmt.Sprint(r.days), "for ever"))
		}
	}
	return nil
}

// hasClause tells whether an engine's definition has the clause, whole.
func hasClause(engine, clause string) bool {
	_, rest, ok := strings.Cut(engine, clause)
	return ok && (rest == "" || rest[0] == ' ')
}
