package chdb

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A span is what the name of a part's directory says: of which blocks it was made.
type span struct {
	partition string
	low, high uint64
}

var partName = regexp.MustCompile(`^([^_]+)_(\d+)_(\d+)_\d+(?:_\d+)?$`)

func spanOf(name string) (s span, ok bool) {
	m := partName.FindStringSubmatch(name)
	if m == nil {
		return span{}, false
	}
	low, err := strconv.ParseUint(m[2], 10, 64)
	if err != nil {
		return span{}, false
	}
	high, err := strconv.ParseUint(m[3], 10, 64)
	return span{m[1], low, high}, err == nil && low <= high
}

// sources tells whether what a part was merged from is among parts. It went all
// at once or not at all, so the first and the last block tell; between them those
// are missing that belonged to inserts which were refused.
func (s span) sources(parts []string) bool {
	low, high := false, false
	for _, name := range parts {
		if p, ok := spanOf(name); ok && p.partition == s.partition && p.low >= s.low && p.high <= s.high {
			low, high = low || p.low == s.low, high || p.high == s.high
		}
	}
	return low && high
}

// A shelf is what lies in the directories of the tables: the parts of each, and
// what was set aside from it. It is for before the engine starts: then merges have
// not begun to cover gaps.
type shelf struct {
	parts map[string][]string // by the directory of the table
	aside map[string]bool     // by path
}

func shelfOf(data string) (*shelf, error) {
	parts, err := filepath.Glob(filepath.Join(data, "store", "*", "*", "*"))
	if err != nil {
		return nil, err
	}
	detached, err := filepath.Glob(filepath.Join(data, "store", "*", "*", "detached", "*"))
	if err != nil {
		return nil, err
	}
	s := &shelf{parts: map[string][]string{}, aside: map[string]bool{}}
	for _, path := range parts {
		if name := filepath.Base(path); partName.MatchString(name) {
			s.parts[filepath.Dir(path)] = append(s.parts[filepath.Dir(path)], name)
		}
	}
	for _, path := range detached {
		s.aside[path] = true
	}
	return s, nil
}

const brokenOnStart = "broken-on-start"

// tidy removes the parts that the engine set aside when it started and that nobody
// misses: what they were merged from was there, and is taken again. Others stay.
func (s *server) tidy(before *shelf) error {
	out, _, err := s.keep.query("SELECT database, table, name, path FROM system.detached_parts WHERE reason = '"+brokenOnStart+"'", "TSVRaw", nil)
	if err != nil {
		return fmt.Errorf("list parts set aside: %w", err)
	}
	type aside struct{ table, name, dir, was string }
	var all []aside
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 4 {
			return fmt.Errorf("list parts set aside: %q", line)
		}
		path := filepath.Clean(f[3])
		if before.aside[path] {
			continue
		}
		dir := filepath.Dir(filepath.Dir(path)) // above detached
		was, _, _ := strings.Cut(strings.TrimPrefix(f[2], brokenOnStart+"_"), "_try")
		all = append(all, aside{identifier(f[0]) + "." + identifier(f[1]), f[2], dir, was})
		before.parts[dir] = slices.DeleteFunc(before.parts[dir], func(name string) bool { return name == was })
	}
	for _, a := range all {
		if sp, ok := spanOf(a.was); !ok || !sp.sources(before.parts[a.dir]) {
			s.log.Warn("a part that cannot be read is set aside, and what it was made from is not there", "table", a.table, "part", a.name)
			continue
		}
		if _, _, err := s.keep.query("ALTER TABLE "+a.table+" DROP DETACHED PART "+literal(a.name)+" SETTINGS allow_drop_detached = 1", "Null", nil); err != nil {
			return fmt.Errorf("drop a part that was set aside: %w", err)
		}
		s.log.Info("a part that cannot be read is dropped: what it was merged from is there", "table", a.table, "part", a.name)
	}
	return nil
}
