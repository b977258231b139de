package detect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// encoding is the version of the profile's encoding, its first byte. A change of
// what [Profile.code] visits, or of the meaning of a statistic, is a new version.
const encoding = 4

var errCut = errors.New("is cut off")

// AppendBinary appends the encoding of p. Empty slots take no room.
func (p *Profile) AppendBinary(dst []byte) []byte {
	c := coder{buf: append(dst, encoding)}
	p.code(&c)
	return c.buf
}

// UnmarshalBinary reads what AppendBinary wrote.
func (p *Profile) UnmarshalBinary(b []byte) error {
	if len(b) == 0 {
		return errCut
	}
	if b[0] != encoding {
		return fmt.Errorf("has encoding version %d, this build reads %d", b[0], encoding)
	}
	c := coder{buf: b[1:], reading: true}
	*p = Profile{}
	p.code(&c)
	if c.err == nil && len(c.buf) > 0 {
		c.err = fmt.Errorf("has %d bytes too many", len(c.buf))
	}
	return c.err
}

// Summarize reads the summary of an agent's profile from its encoding.
func Summarize(agent string, encoded []byte) (Summary, error) {
	var p Profile
	if err := p.UnmarshalBinary(encoded); err != nil {
		return Summary{}, fmt.Errorf("profile of %s: %w", agent, err)
	}
	return Summary{Agent: agent, Role: p.role.String(), Tenant: p.tenant.String(), State: p.State(), Events: uint64(p.events),
		First: p.first.stamp(), Last: p.last.stamp(), Privileges: p.privileges.used()}, nil
}

// code visits every field of a profile, to write it or to read it: one
// description of the layout serves both.
func (p *Profile) code(c *coder) {
	p.seen.code(c)
	c.u32((*uint32)(&p.first))
	c.u32((*uint32)(&p.last))
	c.u32(&p.events)
	c.f32(&p.days)
	c.text(&p.role.form, p.role.b[:])
	c.text(&p.tenant.form, p.tenant.b[:])
	c.text(&p.issuer.form, p.issuer.b[:])
	c.text(&p.subject.form, p.subject.b[:])
	c.u32((*uint32)(&p.budgeted))
	for i := range p.wealth {
		if c.slot(p.wealth[i] != 0) {
			c.f32((*float32)(&p.wealth[i]))
		}
	}
	c.f32((*float32)(&p.common))
	c.u16(&p.watching)
	for i := range p.doubts {
		if c.slot(p.doubts[i] != 0) {
			c.octet((*uint8)(&p.doubts[i]))
		}
	}
	c.flag(&p.vouched)
	c.flag(&p.again)
	c.flag(&p.drifted)
	p.privileges.code(c)
	p.anchors.code(c)
	for k := range kinds {
		p.habit(k).code(c)
	}
	p.rhythms.code(c)
	for i := range p.sessions {
		p.sessions[i].code(c)
	}
	for i := range p.poisons {
		p.poisons[i].code(c)
	}
	c.u8(&p.nextPoison, poisonSlots)
	if c.slot(p.recalled.session != 0) {
		c.u32(&p.recalled.session)
		c.reference(&p.recalled.read)
	}
	p.volumes.code(c)
	c.flag(&p.announces)
	c.u16(&p.losses)
	c.u32(&p.deployed)
}

func (s *Seen) code(c *coder) {
	c.i64(&s.applied)
	for i := range s.sources {
		m := &s.sources[i]
		if c.slot(m.partition != 0) {
			c.u32(&m.partition)
			c.u32(&m.line)
			c.i64(&m.offset)
		}
	}
	for i := range s.recent {
		if h := &s.recent[i]; c.slot(h[0] != 0) {
			c.u16(&h[0])
			c.u16(&h[1])
			c.u16(&h[2])
		}
	}
}

func (h *Histogram) code(c *coder) {
	c.u32(&h.uses)
	c.u32(&h.seen)
	c.f32((*float32)(&h.dispersion))
	c.f32(&h.creep)
	c.u8(&h.last, cells+2)
	for i := range h.cell {
		cell := &h.cell[i]
		if c.slot(cell.id != 0 || cell.long != 0 || cell.short != 0) {
			c.u32(&cell.id)
			c.f32(&cell.long)
			c.u16((*uint16)(&cell.short))
			c.flag(&cell.grave)
			c.packed(&cell.name.form, cell.name.b[:])
		}
	}
}

func (a *Anchors) code(c *coder) {
	if !c.slot(a.day != 0) {
		return
	}
	c.u16(&a.day)
	c.u8(&a.moved, 1<<anchored)
	for i := range a.of {
		s := &a.of[i]
		c.u8(&a.days[i], anchorDays+1)
		for _, f := range []*float32{&s.mean, &s.spread, &s.up, &s.down, &s.sum} {
			c.f32(f)
		}
		c.u16(&s.n)
		c.u16(&s.typical)
	}
}

func (n habit) code(c *coder) {
	c.u32(&n.trials)
	c.f32(&n.surprises)
	c.u32(&n.learned)
	for i := range n.items {
		if c.slot(n.items[i] != 0) {
			c.u16(&n.items[i])
		}
	}
}

func (s *Session) code(c *coder) {
	if !c.slot(s.id != 0) {
		return
	}
	c.u32(&s.id)
	c.u32((*uint32)(&s.last))
	c.u16(&s.intents)
	c.u16(&s.fired)
	c.text(&s.credential.form, s.credential.b[:])
	c.reference(&s.tainted)
	c.u32(&s.poison)
	for i := range s.surprises {
		c.u16((*uint16)(&s.surprises[i]))
	}
	c.u32(&s.worded)
	for i := range s.read {
		c.u32(&s.read[i])
	}
	c.octet(&s.unanswered)
	s.numbers.code(c)
	c.u16(&s.scopes)
	c.u32(&s.delegated)
}

func (n *numbers) code(c *coder) {
	c.u16(&n.top)
	c.u16(&n.open)
	c.octet(&n.lost)
}

func (m *poisonedRecord) code(c *coder) {
	if !c.slot(m.record != 0) {
		return
	}
	c.u32(&m.record)
	c.u32(&m.session)
	c.reference(&m.written)
}

// A coder writes to the end of buf, or reads from its beginning. After the
// first error it reads zeros.
type coder struct {
	buf     []byte
	reading bool
	err     error
}

// take returns the next n bytes to read or to write.
func (c *coder) take(n int) []byte {
	if !c.reading {
		end := len(c.buf)
		c.buf = slices.Grow(c.buf, n)[:end+n] // every byte of it is written by whoever takes it
		return c.buf[end:]
	}
	if len(c.buf) < n {
		c.fail(errCut)
		return make([]byte, n)
	}
	b := c.buf[:n]
	c.buf = c.buf[n:]
	return b
}

// fail ends the reading.
func (c *coder) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.buf = nil
}

func (c *coder) u64(v *uint64) {
	if !c.reading {
		c.buf = binary.LittleEndian.AppendUint64(c.buf, *v)
		return
	}
	*v = binary.LittleEndian.Uint64(c.take(8))
}

func (c *coder) u32(v *uint32) {
	if !c.reading {
		c.buf = binary.LittleEndian.AppendUint32(c.buf, *v)
		return
	}
	*v = binary.LittleEndian.Uint32(c.take(4))
}

func (c *coder) u16(v *uint16) {
	if !c.reading {
		c.buf = binary.LittleEndian.AppendUint16(c.buf, *v)
		return
	}
	*v = binary.LittleEndian.Uint16(c.take(2))
}

// octet is any byte.
func (c *coder) octet(v *uint8) {
	if !c.reading {
		c.buf = append(c.buf, *v)
		return
	}
	*v = c.take(1)[0]
}

// signed is a row of numbers of a byte each.
func (c *coder) signed(v []int8) {
	b := c.take(len(v))
	for i := range v {
		if c.reading {
			v[i] = int8(b[i])
		} else {
			b[i] = byte(v[i])
		}
	}
}

// u8 is a number below limit.
func (c *coder) u8(v *uint8, limit int) {
	if !c.reading {
		c.buf = append(c.buf, *v)
		return
	}
	b := c.take(1)
	if int(b[0]) >= limit {
		c.fail(fmt.Errorf("has %d where less than %d can stand", b[0], limit))
		return
	}
	*v = b[0]
}

func (c *coder) i64(v *int64) {
	u := uint64(*v)
	c.u64(&u)
	*v = int64(u)
}

func (c *coder) f32(v *float32) {
	u := math.Float32bits(*v)
	c.u32(&u)
	if !c.reading {
		return
	}
	f := math.Float32frombits(u)
	if f != f || math.IsInf(float64(f), 0) || f < 0 {
		c.fail(errors.New("has a statistic that is no number of 0 or more"))
		f = 0
	}
	*v = f
}

func (c *coder) flag(v *bool) { *v = c.slot(*v) }

// slot says whether the next slot is in use.
func (c *coder) slot(used bool) bool {
	var u uint8
	if used {
		u = 1
	}
	if !c.reading {
		c.buf = append(c.buf, u)
		return used
	}
	c.u8(&u, 2)
	return u == 1
}

func (c *coder) bytes(b []byte) {
	if !c.reading {
		c.buf = append(c.buf, b...)
		return
	}
	copy(b, c.take(len(b)))
}

func (c *coder) reference(r *Reference) { c.packed(&r.form, r.b[:]) }

// packed is a packing and the bytes that it uses.
func (c *coder) packed(k *packing, b []byte) {
	n := c.take(1)
	if !c.reading {
		n[0] = byte(*k)
	} else if *k = packing(n[0]); !k.fits(len(b)) {
		c.fail(fmt.Errorf("has a text of packing %#x where %d bytes can stand", n[0], len(b)))
		*k = 0
	}
	c.bytes(b[:k.size()])
}

// text is a form and the bytes that it uses.
func (c *coder) text(f *form, b []byte) {
	n := c.take(1)
	if !c.reading {
		n[0] = byte(*f)
	} else if *f = form(n[0]); !f.fits(len(b)) {
		c.fail(fmt.Errorf("has a text of form %#x where %d bytes can stand", n[0], len(b)))
		*f = 0
	}
	c.bytes(b[:*f&used])
}
