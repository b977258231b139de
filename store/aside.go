package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// asideInterval is how often it is asked what ClickHouse has set aside.
const asideInterval = 10 * time.Second

// A part that ClickHouse could not read when it started, and went on without. It
// stays among the detached parts until what was in it is stored again.
type part struct {
	table     string
	partition string // such as 20261123; "all" where the table has no partitions
	name      string
}

const brokenParts = `SELECT table, ifNull(partition_id, ''), name FROM system.detached_parts
WHERE database = ? AND startsWith(reason, 'broken') ORDER BY table, name`

// aside lists the parts that are set aside.
func (s *Store) aside(ctx context.Context) (parts []part, err error) {
	rows, err := s.admin.Query(ctx, brokenParts, s.cfg.Database)
	if err != nil {
		return nil, fmt.Errorf("list parts set aside: %w", s.cfg.advise(err))
	}
	err = each(rows, func() error {
		var p part
		if err := rows.Scan(&p.table, &p.partition, &p.name); err != nil {
			return err
		}
		parts = append(parts, p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list parts set aside: %w", err)
	}
	return parts, nil
}

// forget removes a part whose rows are stored again.
func (s *Store) forget(ctx context.Context, p part) error {
	if err := s.conn.Exec(ctx, "ALTER TABLE "+p.table+" DROP DETACHED PART "+quoted(p.name)+" SETTINGS allow_drop_detached = 1"); err != nil {
		return fmt.Errorf("drop %s, set aside from %s: %w", p.name, p.table, err)
	}
	return nil
}

// A fate is what became of a part set aside that is still there.
type fate int8

const (
	stored fate = iota + 1 // its rows are again, and it only has to be dropped
	lost                   // nobody keeps all of its rows any more
)

// RunRestore stores again, from Kafka and JetStream, what was in parts that
// ClickHouse has set aside, until ctx ends. Of the processes of this role, only
// that does which owns the first partition of the events. A part is dropped when
// that is done, and not before: whoever comes next begins anew with what is left.
func (s *Store) RunRestore(ctx context.Context, o Origins) error {
	tick := time.NewTicker(asideInterval)
	defer tick.Stop()
	fates := map[part]fate{}
	var again patience
	for {
		if err := s.restoreAside(ctx, o, fates, &again); err != nil && ctx.Err() == nil {
			s.log.Warn("rows of parts set aside not stored again yet, or the parts not dropped", "err", err, "retry_in", max(again.wait, asideInterval))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// restoreAside looks once, stores again what was in new parts, and drops those of
// which all is stored, unless it is too early to try that again.
func (s *Store) restoreAside(ctx context.Context, o Origins, fates map[part]fate, again *patience) error {
	parts, err := s.aside(ctx)
	if err != nil {
		return err
	}
	defer func() {
		s.metrics.aside.Set(float64(len(parts)))
		s.metrics.lost.Set(float64(count(fates, lost)))
	}()
	for p := range fates {
		if !slices.Contains(parts, p) { // a person has dropped it
			delete(fates, p)
		}
	}
	s.metrics.aside.Set(float64(len(parts)))
	if s.leading.Load() == 0 || !again.ready(time.Now()) {
		return nil
	}
	parts, err = s.settle(ctx, o, parts, fates)
	again.note(time.Now(), err)
	return err
}

// settle stores again what was in parts whose fate is open, and drops those of which
// all is stored. It returns those that are left.
func (s *Store) settle(ctx context.Context, o Origins, parts []part, fates map[part]fate) (left []part, err error) {
	byTable := map[string][]part{}
	for _, p := range parts {
		if fates[p] == 0 {
			byTable[p.table] = append(byTable[p.table], p)
		}
	}
	var errs []error
	for table, set := range byTable {
		if err := s.restoreParts(ctx, o, table, set, fates); err != nil {
			errs = append(errs, fmt.Errorf("restore %s: %w", table, err))
		}
	}
	for _, p := range parts {
		if fates[p] == stored {
			err := s.forget(ctx, p)
			if err == nil {
				continue
			}
			errs = append(errs, err)
		}
		left = append(left, p)
	}
	return left, errors.Join(errs...)
}

// restoreParts stores again what was in parts of a table, and notes their fates.
func (s *Store) restoreParts(ctx context.Context, o Origins, table string, parts []part, fates map[part]fate) error {
	s.log.Warn("ClickHouse has set parts of a table aside that it cannot read: storing their rows again", "table", table, "parts", len(parts))
	rows, whole, err := s.restore(ctx, o, table, parts)
	if err != nil {
		return err
	}
	s.metrics.restored.WithLabelValues(table).Add(float64(rows))
	s.log.Info("rows stored again", "table", table, "rows", rows)
	for _, p := range parts {
		if whole(p) {
			fates[p] = stored
			continue
		}
		fates[p] = lost
		s.log.Error("a part of a table is set aside, and not all that was in it is kept elsewhere: rows may be lost", "table", table, "part", p.name,
			"remedy", "see system.detached_parts, and drop the part when nothing can be had of it")
	}
	return nil
}

func count(fates map[part]fate, which fate) (n int) {
	for _, f := range fates {
		if f == which {
			n++
		}
	}
	return n
}

// lead notes that this process owns the first partition of the events until ctx ends.
func (s *Store) lead(ctx context.Context) {
	s.leading.Add(1)
	context.AfterFunc(ctx, func() { s.leading.Add(-1) })
}

func newAside() prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: "stakeout_store_parts_set_aside",
		Help: "Parts of the tables that ClickHouse could not read and went on without; their rows are stored again."})
}

func newLost() prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: "stakeout_store_parts_lost",
		Help: "Of the parts set aside, those of which Kafka and JetStream do not keep all rows any more."})
}
