package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

const (
	maxStack = 4 << 10 // bytes of a stack trace that a reject keeps
	maxCause = 256     // bytes of what a panic said

	// maxRejects is how many lines of one record are refused one by one. The
	// rest share a reject, so that a record of garbage does not become a
	// hundred times its size.
	maxRejects = 100
)

// A Reject is the value of a record of the rejects topic: which line was
// refused and why. It holds nothing of the line but its size and a prefix of
// its SHA-256, enough to recognise it by whoever has it.
type Reject struct {
	Topic     string    `json:"topic"`
	Partition int       `json:"partition"`
	Offset    int64     `json:"offset"`
	Line      int       `json:"line,omitempty"` // of the record, from 1; 0 is the whole record
	Time      time.Time `json:"time"`           // when the record was ingested
	Field     string    `json:"field"`          // at fault: one of ours, or "line"
	Position  int       `json:"position"`       // byte of the line, from 0; -1 where no one byte is at fault
	Reason    string    `json:"reason"`
	Size      int       `json:"size"`             // bytes of the line
	SHA256    string    `json:"sha256,omitempty"` // first 64 bits, hexadecimal
	Lines     int       `json:"lines,omitempty"`  // where one reject stands for several lines: how many
	Stack     string    `json:"stack,omitempty"`  // of a panic
}

// of fills in where r is from, and what may be said of its line.
func (r *Reject) of(src event.Source, at time.Time, line []byte) {
	sum := sha256.Sum256(line)
	r.Topic, r.Partition, r.Offset, r.Line = src.Topic, src.Partition, src.Offset, src.Line
	r.Time, r.Size, r.SHA256 = at, len(line), hex.EncodeToString(sum[:8])
}

// refusal returns the reject that err asks for.
func refusal(err error) *Reject {
	if e, ok := err.(*event.Error); ok {
		return &Reject{Field: e.Field, Position: e.Offset, Reason: e.Reason}
	}
	return &Reject{Field: event.LineField, Position: -1, Reason: err.Error()}
}

// panicked returns the reject of a line that made the code panic with v. It
// must be called by the deferred function that recovered.
func panicked(v any) *Reject {
	return &Reject{
		Field: event.LineField, Position: -1,
		Reason: "panic: " + cut(fmt.Sprint(v), maxCause),
		Stack:  cut(string(debug.Stack()), maxStack),
	}
}

// several returns the reject that stands for n further lines of a record.
func several(n int) *Reject {
	return &Reject{
		Field: event.LineField, Position: -1, Lines: n,
		Reason: strconv.Itoa(n) + " more lines of this record are no events, want one JSON object on each line",
	}
}

// tooLarge returns the records that err says were too large for their topic,
// and whether that is all it says: everything else was written then.
func tooLarge(err error) (dropped []*stream.TooLargeError, only bool) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil, false
	}
	for _, err := range joined.Unwrap() {
		d, ok := err.(*stream.TooLargeError)
		if !ok {
			return nil, false
		}
		dropped = append(dropped, d)
	}
	return dropped, true
}

// dropped makes a reject of an event that was too large for its topic.
func (p *partition) dropped(d *stream.TooLargeError) error {
	p.log.Error("a record is larger than its topic takes", "into", d.Topic, "size", d.Size, "err", d.Err)
	if d.Topic != p.in.cfg.Events {
		return nil
	}
	p.counts.events--
	p.counts.rejects[event.LineField]++
	var src event.Source
	for _, h := range d.Headers {
		if h.Key != event.SourceHeader {
			continue
		}
		if err := src.Parse(h.Value); err != nil {
			return err
		}
	}
	return p.emit(&Reject{
		Topic: src.Topic, Partition: src.Partition, Offset: src.Offset, Line: src.Line, Time: d.Time, Field: event.LineField, Position: -1, Size: d.Size,
		Reason: "is an event larger than topic " + d.Topic + " takes, want its max.message.bytes and our produce_max_bytes at 1000000 or more",
	})
}

// cut returns the first n bytes of s, less what they cut of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
