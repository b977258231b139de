package chdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

var (
	// insertWhole is an INSERT that ends with its format: the rows come in the body.
	insertWhole = regexp.MustCompile(`(?is)^\s*(INSERT\s+INTO\s.*?)\s+FORMAT\s+([A-Za-z0-9_]+)\s*;?\s*$`)
	// insertHead is such an INSERT at the beginning of a body, before the rows.
	insertHead = regexp.MustCompile(`(?is)^\s*(INSERT\s+INTO\s+[^\s(]+(?:\s*\([^()]*\))?)\s+FORMAT\s+([A-Za-z0-9_]+)(?:[ \t]*\r?\n|[ \t]+)`)
	// reading is a statement that can be streamed.
	reading = regexp.MustCompile(`(?is)^\s*\(*\s*(SELECT|WITH)\b`)
	killing = regexp.MustCompile(`(?is)^\s*KILL\s+QUERY\b`)
	// readsFile is the function file(), or eval() that may hide it, in a syntax tree.
	readsFile = regexp.MustCompile(`(?im)^\s*Function (file|eval)\b`)
)

// markSetting carries the mark by which a statement is found among the running
// ones. It is a setting that means nothing here (the name under which the engine
// calls on remote servers), so that no client has a use for it of its own.
const markSetting = "chdb_client_name"

// run carries a request out, on a connection of its own: settings, database and
// whatever a failed statement leaves behind end with it.
func (s *server) run(w http.ResponseWriter, r *http.Request, req *request) {
	c, err := s.lib.connectTo(s.args...)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer c.close()
	mark := fmt.Sprintf("%s/%d", s.tag, s.seq.Add(1))
	what, err := s.prepare(c, mark, req)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer s.killOnCancel(r.Context(), mark)()

	out := s.output(w, req)
	switch {
	case req.rows != nil:
		var st stats
		if st, err = c.insert(req.insert, req.rowsFormat, req.rows); err == nil {
			err = s.wrote()
		}
		if err == nil {
			out.summary(st)
		}
	case reading.MatchString(req.sql):
		err = c.stream(req.sql, req.format, req.params, out.write)
	default:
		var data []byte
		var st stats
		data, st, err = c.query(req.sql, req.format, req.params)
		if err == nil && what != readOnly {
			err = s.wrote()
		}
		if err == nil {
			out.summary(st)
			err = out.write(data)
		}
	}
	if err != nil {
		s.hear(err)
		out.fail(err)
		return
	}
	s.ended(out.end())
}

// prepare refuses what may not run and sets the connection up for the rest. It
// returns what the statement does.
func (s *server) prepare(c *conn, mark string, req *request) (class, error) {
	sets := append([]string{markSetting + " = " + literal(mark)}, req.settings...)
	if _, _, err := c.query("SET "+strings.Join(sets, ", "), "", nil); err != nil {
		return unknown, err
	}
	if req.database != "" && req.database != "default" {
		if _, _, err := c.query("USE "+identifier(req.database), "", nil); err != nil {
			return unknown, err
		}
	}
	statements, what, err := c.analyse(req.sql)
	if err != nil {
		return unknown, err
	}
	switch {
	case statements > 1:
		return unknown, exception(62, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")
	case what == unknown:
		return unknown, s.syntaxError(req.sql)
	case what == control && !killing.MatchString(req.sql):
		return unknown, exception(497, "ACCESS_DENIED", "Not enough privileges: the embedded engine runs no statements about sessions, the server or files")
	case what != readOnly && containsFold(req.sql, "infile"):
		return unknown, exception(497, "ACCESS_DENIED", "Not enough privileges: the embedded engine reads no files (INFILE)")
	}
	if err := s.refuseDefinition(req.sql); err != nil {
		return unknown, err
	}
	return what, s.refuseFile(c, req)
}

// syntaxError is what the engine says of a statement that does not parse. It is
// never run: a part of it might be a statement that does.
func (s *server) syntaxError(sql string) error {
	c, err := s.lib.connectTo(s.args...)
	if err != nil {
		return err
	}
	defer c.close()
	escaped := strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`).Replace(sql)
	if _, _, err := c.query("SELECT formatQuery({sql:String})", "Null", map[string]string{"sql": escaped}); err != nil {
		if msg, _, ok := strings.Cut(err.Error(), ": In scope SELECT formatQuery("); ok {
			return errors.New(msg + ". (SYNTAX_ERROR)")
		}
		return err
	}
	return exception(62, "SYNTAX_ERROR", "Syntax error: the statement is of no kind the embedded engine runs")
}

// refuseFile refuses the function file(), which no grant closes: in a library
// the engine reads any path. The tree is asked only where the name may be
// spelled, as it is or by an escape.
func (s *server) refuseFile(c *conn, req *request) error {
	if req.rows != nil || !containsFold(req.sql, "file") && !containsFold(req.sql, "eval") && !strings.Contains(req.sql, `\`) {
		return nil
	}
	tree, _, err := c.query("EXPLAIN AST "+req.sql, "TSVRaw", req.params)
	if err != nil {
		return err
	}
	if readsFile.Match(tree) {
		return exception(497, "ACCESS_DENIED", "Not enough privileges: the embedded engine reads no files")
	}
	return nil
}

func containsFold(s, lower string) bool {
	return bytes.Contains(bytes.ToLower([]byte(s)), []byte(lower))
}

// killOnCancel kills the statement that carries mark when ctx ends. The function
// it returns ends the watch and must be called before the connection is closed.
func (s *server) killOnCancel(ctx context.Context, mark string) (done func()) {
	over, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-over:
			return
		case <-ctx.Done():
		}
		// It may not have started yet, so it is killed until it is over.
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			s.kill(mark)
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(over); <-gone }
}

// kill asks the engine to stop the statement that carries mark.
func (s *server) kill(mark string) {
	s.killing <- struct{}{}
	defer func() { <-s.killing }()
	if _, _, err := s.keep.query("KILL QUERY WHERE Settings['"+markSetting+"'] = "+literal(mark)+" ASYNC", "Null", nil); err != nil {
		s.log.Warn("statement not killed", "err", err)
	}
}
