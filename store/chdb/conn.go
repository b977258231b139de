package chdb

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"unsafe"
)

// conn is one connection: a session of its own that runs one statement at a
// time. It is not for concurrent use; many connections run in parallel. After an
// error it must be closed, because what a failed statement had already written
// stands before the next result.
type conn struct {
	lib *library
	ptr unsafe.Pointer // chdb_connection *
}

// connect opens a connection; the first one of the process starts the engine.
func (l *library) connectTo(args ...string) (*conn, error) {
	argv := make([]*byte, 0, len(args)+2)
	for _, arg := range append([]string{"clickhouse"}, args...) {
		argv = append(argv, &append([]byte(arg), 0)[0])
	}
	argc := int32(len(argv))
	argv = append(argv, nil)
	p := l.connect(argc, unsafe.Pointer(&argv[0]))
	runtime.KeepAlive(argv)
	if p == nil {
		return nil, errors.New("open the ClickHouse engine: it refused the connection")
	}
	return &conn{lib: l, ptr: p}, nil
}

// raw is the chdb_connection that calls want.
func (c *conn) raw() unsafe.Pointer { return *(*unsafe.Pointer)(c.ptr) }

func (c *conn) close() { c.lib.closeConn(c.ptr) }

// stats is what a statement read from and wrote to tables.
type stats struct {
	readRows, readBytes       uint64
	writtenRows, writtenBytes uint64
}

func (l *library) stats(result unsafe.Pointer) stats {
	return stats{l.rowsRead(result), l.bytesRead(result), l.rowsWritten(result), l.bytesWritten(result)}
}

// params are the values of a statement's {name:Type} parameters, as C wants them.
type params struct {
	names, values       []*byte
	nameLens, valueLens []uintptr
	cNames, cNameLens   unsafe.Pointer
	cValues, cValueLens unsafe.Pointer
	count               uintptr
}

func newParams(m map[string]string) *params {
	p := new(params)
	if len(m) == 0 {
		return p
	}
	for name, value := range m {
		p.names = append(p.names, &append([]byte(name), 0)[0])
		p.values = append(p.values, &append([]byte(value), 0)[0])
		p.nameLens = append(p.nameLens, uintptr(len(name)))
		p.valueLens = append(p.valueLens, uintptr(len(value)))
	}
	p.cNames, p.cNameLens = unsafe.Pointer(&p.names[0]), unsafe.Pointer(&p.nameLens[0])
	p.cValues, p.cValueLens = unsafe.Pointer(&p.values[0]), unsafe.Pointer(&p.valueLens[0])
	p.count = uintptr(len(m))
	return p
}

// query runs one statement and returns its whole output.
func (c *conn) query(sql, format string, args map[string]string) ([]byte, stats, error) {
	p := newParams(args)
	r := c.lib.query(c.raw(), ptr(sql), uintptr(len(sql)), ptr(format), uintptr(len(format)), p.cNames, p.cNameLens, p.cValues, p.cValueLens, p.count)
	runtime.KeepAlive(sql)
	runtime.KeepAlive(format)
	runtime.KeepAlive(p)
	if r == nil {
		return nil, stats{}, errors.New("the engine gave no result")
	}
	defer c.lib.destroyResult(r)
	if e := c.lib.resultError(r); e != nil {
		return nil, stats{}, errors.New(text(e))
	}
	var out []byte
	if n := c.lib.resultLength(r); n > 0 {
		out = append(out, unsafe.Slice((*byte)(c.lib.resultBuffer(r)), n)...)
	}
	return out, c.lib.stats(r), nil
}

// stream runs one reading statement and hands its output over in pieces, each
// valid until fn returns. An error of fn ends the statement.
func (c *conn) stream(sql, format string, args map[string]string, fn func([]byte) error) error {
	p := newParams(args)
	r := c.lib.streamQuery(c.raw(), ptr(sql), uintptr(len(sql)), ptr(format), uintptr(len(format)), p.cNames, p.cNameLens, p.cValues, p.cValueLens, p.count)
	runtime.KeepAlive(sql)
	runtime.KeepAlive(format)
	runtime.KeepAlive(p)
	if r == nil {
		return errors.New("the engine gave no result")
	}
	defer c.lib.destroyResult(r)
	if e := c.lib.resultError(r); e != nil {
		return errors.New(text(e))
	}
	for {
		done, err := c.fetch(r, fn)
		if err != nil || done {
			return err
		}
	}
}

// fetch hands the next piece of a streaming result over.
func (c *conn) fetch(r unsafe.Pointer, fn func([]byte) error) (done bool, err error) {
	piece := c.lib.streamFetch(c.raw(), r)
	if piece == nil {
		return true, nil
	}
	defer c.lib.destroyResult(piece)
	if e := c.lib.resultError(piece); e != nil {
		return true, errors.New(text(e))
	}
	n := c.lib.resultLength(piece)
	if n == 0 {
		return true, nil
	}
	if err := fn(unsafe.Slice((*byte)(c.lib.resultBuffer(piece)), n)); err != nil {
		c.lib.streamCancel(c.raw(), r)
		return true, err
	}
	return false, nil
}

// insert runs an INSERT statement, given without its FORMAT clause, over the
// rows in body. Unless body ends with io.EOF nothing is stored.
func (c *conn) insert(sql, format string, body io.Reader) (stats, error) {
	st := c.lib.insert(c.raw(), ptr(sql), uintptr(len(sql)), ptr(format), uintptr(len(format)))
	runtime.KeepAlive(sql)
	runtime.KeepAlive(format)
	if st == nil {
		return stats{}, errors.New("the engine gave no insert stream")
	}
	defer c.lib.destroyInsert(st)
	if e := c.lib.insertError(st); e != nil {
		return stats{}, errors.New(text(e))
	}
	buf := make([]byte, 1<<20)
	for {
		n, err := fill(body, buf)
		if n > 0 && c.lib.insertAppend(st, unsafe.Pointer(&buf[0]), uintptr(n)) != 0 {
			if e := c.lib.insertError(st); e != nil {
				return stats{}, errors.New(text(e))
			}
			break // insertDone says why
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			c.lib.insertCancel(st)
			return stats{}, fmt.Errorf("read the rows: %w", err)
		}
	}
	r := c.lib.insertDone(st)
	if r == nil {
		return stats{}, errors.New("the engine did not say whether it stored the rows")
	}
	defer c.lib.destroyResult(r)
	if e := c.lib.resultError(r); e != nil {
		return stats{}, errors.New(text(e))
	}
	return c.lib.stats(r), nil
}

// fill reads until buf is full. Unlike [io.ReadFull] it keeps the reader's own
// error, because io.EOF is a whole body and io.ErrUnexpectedEOF a cut one.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// class is what a statement does, by the engine's own parser.
type class uint32

const (
	readOnly       class = 0 // leaves no trace
	mutating       class = 1 // changes a database
	mutatingGlobal class = 2 // changes what stands beside the databases: functions, users
	control        class = 3 // the session, the server, files
	unknown        class = 4 // does not parse
)

// analyse parses sql without running it.
func (c *conn) analyse(sql string) (statements int, what class, err error) {
	a := struct{ size, statements, flags, class uint32 }{size: 16}
	failed := c.lib.classify(c.raw(), ptr(sql), uintptr(len(sql)), nil, 0, unsafe.Pointer(&a))
	runtime.KeepAlive(sql)
	if failed != 0 {
		return 0, unknown, errors.New("the engine did not analyse the statement")
	}
	return int(a.statements), class(a.class), nil
}

func ptr(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

// text copies a C string.
func text(p unsafe.Pointer) string {
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}
