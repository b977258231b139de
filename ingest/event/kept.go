package event

import (
	"bytes"
	"hash/maphash"
)

// keptLists are lists of strings that came lately, by how they stood in their lines.
// What a principal and a credential may do stands in each of their events: to compare
// such a list with one that was read costs a tenth of reading it again.
type keptLists struct {
	turn  uint64     // counts events
	lists []keptList // a place for each hash
}

type keptList struct {
	hash  uint64   // of the list that was here last
	turn  uint64   // event that has the strings
	text  []byte   // of a list that came twice in a row, and
	items []string // what it holds; both are used again for the next one
}

const (
	keptBits  = 7
	leastKept = 64      // bytes of a list that is worth keeping
	mostKept  = 2 << 10 // bounds what the places hold
)

// keptSeed says which lists share a place, and changes nothing else.
var keptSeed = maphash.MakeSeed()

// find returns the list that b begins with, if it was kept, and how it stands there.
// Else place is where to keep it: nil where that is not worth it.
func (k *keptLists) find(b []byte) (items []string, text []byte, place *keptList) {
	end := bytes.IndexByte(b, ']') // or that of a bracket in one of the strings: such a list is not found
	if end < leastKept || end > mostKept || k.turn == 1 {
		return nil, nil, nil
	}
	if k.lists == nil {
		k.lists = make([]keptList, 1<<keptBits)
	}
	text = b[:end+1]
	hash := maphash.Bytes(keptSeed, text)
	l := &k.lists[hash>>(64-keptBits)]
	if string(l.text) == string(text) {
		l.hash, l.turn = hash, k.turn
		return l.items, text, nil
	}
	if l.hash != hash || l.turn == k.turn {
		l.hash = hash
		return nil, nil, nil
	}
	l.turn = k.turn
	return nil, text, l
}

// keep reads a list into its place. What it holds is good as long as nobody else gets
// the place, which is not before the next event.
func (l *keptList) keep(text []byte) {
	l.text, l.items = append(l.text[:0], text...), l.items[:0]
	s := scanner{line: l.text}
	more, ok := s.open('[', ']', "")
	for more && ok {
		var item string
		if item, ok = s.text(true); ok {
			l.items = append(l.items, item)
			more, ok = s.more(']')
		}
	}
}
