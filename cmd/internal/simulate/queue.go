package simulate

// A queue holds things until their time, the earliest first; where two have the
// same time, the smaller key goes first, so the order never depends on the past.
type queue[T any] struct{ items []item[T] }

type item[T any] struct {
	at  int64
	key uint64
	val T
}

func (q *queue[T]) before(i, j int) bool {
	a, b := &q.items[i], &q.items[j]
	return a.at < b.at || a.at == b.at && a.key < b.key
}

func (q *queue[T]) push(at int64, key uint64, val T) {
	q.items = append(q.items, item[T]{at, key, val})
	for i := len(q.items) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.before(i, up) {
			return
		}
		q.items[i], q.items[up] = q.items[up], q.items[i]
		i = up
	}
}

// peek returns when the first is due.
func (q *queue[T]) peek() (at int64, ok bool) {
	if len(q.items) == 0 {
		return 0, false
	}
	return q.items[0].at, true
}

func (q *queue[T]) pop() (first item[T], ok bool) {
	if len(q.items) == 0 {
		return first, false
	}
	first = q.items[0]
	n := len(q.items) - 1
	q.items[0] = q.items[n]
	q.items[n] = item[T]{}
	q.items = q.items[:n]
	q.sink()
	return first, true
}

// sink puts the first item, whose time has changed, in its place.
func (q *queue[T]) sink() {
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(q.items); c++ {
			if q.before(c, least) {
				least = c
			}
		}
		if least == i {
			return
		}
		q.items[i], q.items[least] = q.items[least], q.items[i]
		i = least
	}
}
