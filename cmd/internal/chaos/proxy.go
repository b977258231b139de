package chaos

import (
	"errors"
	"net"
	"sync"
	"time"
)

// A proxy stands between the roles and a server, and can cut them off.
type proxy struct {
	name   string
	ln     net.Listener
	target string

	mu      sync.Mutex
	conns   map[*net.TCPConn]struct{}
	refuse  time.Time     // until when connections are closed at once
	stalled chan struct{} // nil, or closed when bytes flow again
	closed  bool
	wg      sync.WaitGroup
}

func newProxy(name, target string) (*proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{name: name, ln: ln, target: target, conns: map[*net.TCPConn]struct{}{}}
	p.wg.Go(p.serve)
	return p, nil
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) serve() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.join(in.(*net.TCPConn)) })
	}
}

// join connects a client with the server. What either end says of closing is of no interest.
func (p *proxy) join(in *net.TCPConn) {
	defer in.Close()
	p.mu.Lock()
	refused := time.Now().Before(p.refuse)
	p.mu.Unlock()
	if refused {
		return
	}
	to, err := net.DialTimeout("tcp", p.target, time.Second)
	if err != nil {
		return
	}
	out := to.(*net.TCPConn)
	defer out.Close()
	if !p.add(in, out) {
		return
	}
	defer p.remove(in, out)
	var both sync.WaitGroup
	both.Go(func() { p.copy(out, in) })
	p.copy(in, out)
	both.Wait()
}

// copy passes bytes on, until one of the two is gone.
func (p *proxy) copy(to, from *net.TCPConn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		stalled := p.stalled
		p.mu.Unlock()
		if stalled != nil {
			<-stalled
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			to.Close()
			from.Close()
			return
		}
	}
}

func (p *proxy) add(conns ...*net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return !p.closed
}

func (p *proxy) remove(conns ...*net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}

// cut resets every connection, in the middle of whatever it carries, and
// refuses new ones for a while.
func (p *proxy) cut(refuse time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = time.Now().Add(refuse)
	var errs []error
	for c := range p.conns {
		if err := errors.Join(c.SetLinger(0), c.Close()); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// stall holds back every byte until flow is called; connections stay.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

func (p *proxy) flow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = time.Time{}
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

func (p *proxy) close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.flow()
	err := errors.Join(p.ln.Close(), p.cut(0))
	p.wg.Wait()
	return err
}
