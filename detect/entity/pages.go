package entity

import "unsafe"

// Pages hold many short texts in few pieces of memory, each of which is there for as
// long as anybody has a text in it. Texts that come and go one by one would leave
// gaps between those that stay, which no others fit.
type pages struct {
	last  []byte // what is left of the page begun last
	taken int    // bytes of pages
	held  int    // of texts that were not dropped
}

const pageSize = 64 << 10

// keep returns a text in a page.
func keep[T string | []byte](p *pages, b T) string {
	if len(b) > len(p.last) {
		p.last = make([]byte, max(pageSize, len(b)))
		p.taken += len(p.last)
	}
	n := copy(p.last, b)
	s := unsafe.String(unsafe.SliceData(p.last), n) // nobody writes there again
	p.last = p.last[n:]
	p.held += n
	return s
}

// drop says that a text is not held any more.
func (p *pages) drop(s string) { p.held -= len(s) }

// sparse reports whether so little of the pages is held that moving it is worth while.
func (p *pages) sparse() bool { return p.taken > 2*p.held+4*pageSize }
