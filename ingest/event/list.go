package event

import "strconv"

// items reads a list and calls item at each of its values.
func (d *Decoder) items(item func(*Decoder) bool) bool {
	more, ok := d.open('[', ']', "a list")
	for n := 0; more && ok; n++ {
		if n == MaxItems {
			return d.tooMany("items")
		}
		if !item(d) {
			return false
		}
		more, ok = d.more(']')
	}
	return ok
}

// tooMany fails before one member or item too many.
func (d *Decoder) tooMany(what string) bool {
	d.next()
	return d.fail(d.i, "has too many "+what+", want "+strconv.Itoa(MaxItems)+" at most")
}

// members reads an object and calls member at each of its values that is not null.
func (d *Decoder) members(member func(d *Decoder, key string) bool) bool {
	more, ok := d.open('{', '}', "an object")
	for n := 0; more && ok; n++ {
		if n == MaxItems {
			return d.tooMany("members")
		}
		d.next()
		at := d.i
		key, ok := d.key(true)
		switch {
		case !ok:
			return false
		case len(key) > MaxString:
			return d.fail(at, "has a member with a name of "+strconv.Itoa(len(key))+" bytes, want "+strconv.Itoa(MaxString)+" at most")
		case d.next() == 'n':
			ok = d.word("null")
		default:
			ok = member(d, key)
		}
		if !ok {
			return false
		}
		if more, ok = d.more('}'); !ok {
			return false
		}
	}
	return ok
}

// list reads a list of strings.
func (d *Decoder) list() ([]string, bool) {
	items, text, place := d.kept.find(d.line[d.i:])
	if items != nil {
		d.i += len(text)
		return clip(items), true
	}
	start, mark := d.i, len(d.strings)
	more, ok := d.open('[', ']', "a list")
	for n := 0; more && ok; n++ {
		if n == MaxItems {
			return nil, d.tooMany("items")
		}
		s, ok := d.string()
		if !ok {
			return nil, false
		}
		d.strings = append(d.strings, s)
		if more, ok = d.more(']'); !ok {
			return nil, false
		}
	}
	if ok && place != nil && d.i == start+len(text) {
		place.keep(text)
	}
	return clip(d.strings[mark:]), ok
}

func (d *Decoder) intent() bool {
	e, ok := enum(d, effectOf)
	if ok && e != "" {
		d.intents = append(d.intents, e)
	}
	return ok
}

func (d *Decoder) argOrigin(key string) bool {
	o, ok := enum(d, originOf)
	if !ok || o == "" {
		return ok
	}
	return add(d, &d.origins, key, o)
}

func (d *Decoder) argSource(key string) bool {
	s, ok := d.string()
	return ok && add(d, &d.sources, key, s)
}

func (d *Decoder) argHashes(key string) bool {
	l, ok := d.list()
	return ok && add(d, &d.hashes, key, l)
}

// add appends a member to o, which must not have one of that name.
func add[T any](d *Decoder, o *Object[T], key string, v T) bool {
	if _, dup := o.Lookup(key); dup {
		return d.fail(d.i, "has a member twice before this byte, want it once")
	}
	*o = append(*o, Member[T]{Key: key, Value: v})
	return true
}

// clip returns s so that appending to it copies; an empty one is nil.
func clip[S ~[]E, E any](s S) S {
	if len(s) == 0 {
		return nil
	}
	return s[:len(s):len(s)]
}
