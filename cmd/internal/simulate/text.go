package simulate

import "strings"

const (
	chunk    = 64 << 10
	alphabet = "0123456789abcdefghjkmnpqrstvwxyz" // Crockford's base 32
	digits   = "0123456789abcdef"
)

// text makes the many short strings of a run by cutting them from large blocks:
// one allocation for some thousand strings. A string stays valid for as long as
// anybody holds it.
type text struct{ b *strings.Builder }

// room makes sure that n more bytes fit into the present block and says where they begin.
func (t *text) room(n int) int {
	if t.b == nil || t.b.Cap()-t.b.Len() < n {
		t.b = new(strings.Builder)
		t.b.Grow(chunk)
	}
	return t.b.Len()
}

func (t *text) from(start int) string { return t.b.String()[start:] }

// id returns the 26 characters of base 32 that name what key stands for.
func (t *text) id(key uint64) string {
	start := t.room(26)
	for _, word := range [2]uint64{mix(key, 1), mix(key, 2)} {
		for range 13 {
			t.b.WriteByte(alphabet[word>>59])
			word <<= 5
		}
	}
	return t.from(start)
}

// call returns a tool call's id.
func (t *text) call(key uint64) string {
	start := t.room(16)
	t.b.WriteString("c")
	word := mix(key, 3)
	for range 12 {
		t.b.WriteByte(alphabet[word>>59])
		word <<= 5
	}
	return t.from(start)
}

// hex returns key in 16 hexadecimal digits.
func (t *text) hex(key uint64) string {
	start := t.room(16)
	t.writeHex(key)
	return t.from(start)
}

// trace returns a trace id of 32 hexadecimal digits.
func (t *text) trace(key uint64) string {
	start := t.room(32)
	t.writeHex(mix(key, 4))
	t.writeHex(mix(key, 5))
	return t.from(start)
}

func (t *text) writeHex(word uint64) {
	for range 16 {
		t.b.WriteByte(digits[word>>60])
		word <<= 4
	}
}

// numbered returns prefix and n, separated by a slash.
func (t *text) numbered(prefix string, n int) string {
	start := t.room(len(prefix) + 12)
	t.b.WriteString(prefix)
	t.b.WriteByte('/')
	var buf [20]byte
	i := len(buf)
	for {
		i--
		buf[i] = digits[n%10]
		if n /= 10; n == 0 {
			break
		}
	}
	t.b.Write(buf[i:])
	return t.from(start)
}

// A place is the kind of name that a destination has.
type place uint8

const (
	nowhere place = iota
	address       // a person's mail address
	host          // a machine
	account       // a bank account, as a keyed hash
)

// place returns the destination that key stands for. The names of attackers come
// from here like everybody's: nothing in a name tells them apart.
func (t *text) place(kind place, key uint64) string {
	if kind == account {
		return t.hex(mix(key, 6))
	}
	h := mix(key, 7)
	start := t.room(64)
	if kind == address {
		t.b.WriteString(forenames[h&31])
		t.b.WriteByte('.')
		t.b.WriteString(surnames[h>>5&31])
		t.b.WriteByte('@')
	} else {
		t.b.WriteString(machines[h&7])
		t.b.WriteByte('.')
	}
	t.b.WriteString(firsts[h>>10&31])
	t.b.WriteByte('-')
	t.b.WriteString(seconds[h>>15&31])
	t.b.WriteByte(digits[h>>20&7])
	t.b.WriteByte(digits[h>>23&7])
	t.b.WriteString(".example")
	return t.from(start)
}

// person returns the user id that key stands for.
func (t *text) person(key uint64) string {
	h := mix(key, 8)
	start := t.room(48)
	t.b.WriteString(forenames[h&31])
	t.b.WriteByte('.')
	t.b.WriteString(surnames[h>>5&31])
	return t.from(start)
}

var (
	machines  = [8]string{"api", "files", "cdn", "in", "share", "hooks", "www", "data"}
	forenames = [32]string{"ada", "amir", "bea", "carl", "chen", "dana", "eli", "fatou", "goran", "hana", "ines", "ivan", "jae", "kara", "leo", "lin",
		"maya", "milo", "nadia", "noor", "olga", "omar", "pia", "quinn", "rosa", "sami", "tara", "uma", "vera", "wen", "yara", "zoe"}
	surnames = [32]string{"abara", "berg", "castro", "dietz", "evans", "fabre", "garcia", "haas", "ito", "jansen", "kaya", "lund", "moreau", "novak", "okafor", "patel",
		"quist", "rossi", "sato", "tanaka", "ueda", "varga", "weber", "xu", "yilmaz", "zimmer", "adler", "bauer", "costa", "duarte", "eriksen", "fischer"}
	firsts = [32]string{"amber", "birch", "cedar", "delta", "ember", "fjord", "granite", "harbor", "iris", "juniper", "kelp", "lagoon", "maple", "north", "opal", "pine",
		"quartz", "river", "slate", "tundra", "umber", "velvet", "willow", "xenon", "yarrow", "zenith", "alder", "basalt", "copper", "dune", "elm", "flint"}
	seconds = [32]string{"arc", "bridge", "cloud", "dock", "edge", "field", "gate", "hill", "isle", "junction", "key", "lane", "mill", "nest", "orbit", "port",
		"quarry", "ridge", "stone", "tower", "union", "vale", "works", "yard", "labs", "trade", "supply", "media", "health", "freight", "energy", "studio"}
)
