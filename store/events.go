package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/ingest/stream"
)

// eventRow is an event with where it comes from. It owns its strings.
type eventRow struct {
	event.Event
	ingested time.Time // of the Kafka record: a replay has the same
	src      event.Source
}

// eventDecoder makes rows of records. It is for one partition.
type eventDecoder struct {
	dec event.Decoder
	src event.Source
}

func (d *eventDecoder) decode(r *stream.Record) (row eventRow, size int, err error) {
	if err := d.dec.Decode(r.Value, &row.Event); err != nil {
		return eventRow{}, 0, fmt.Errorf("decode event: %w", err)
	}
	size = keep(&row.Event)
	row.ingested = r.Time
	if row.src, err = d.source(r); err != nil {
		return eventRow{}, 0, err
	}
	if row.ID == "" {
		row.ID = fmt.Sprintf("%s/%d/%d", row.src.Topic, row.src.Partition, row.src.Offset)
	}
	return row, size, nil
}

// source is where a record says that it comes from, or where it stands itself.
func (d *eventDecoder) source(r *stream.Record) (event.Source, error) {
	src := event.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
	for i := range r.Headers {
		if r.Headers[i].Key != event.SourceHeader {
			continue
		}
		if err := d.src.Parse(r.Headers[i].Value); err != nil {
			return event.Source{}, err
		}
		src = d.src
	}
	return src, nil
}

// keep gives e memory of its own, one block for all of its strings, and returns
// about how much that is.
func keep(e *event.Event) (size int) {
	var b strings.Builder
	n := 0
	visit(e, func(s *string) { n += len(*s) })
	b.Grow(n)
	visit(e, func(s *string) {
		at := b.Len()
		b.WriteString(*s)
		*s = b.String()[at:]
	})
	return n + eventSize
}

// eventSize is about what an event takes beside its strings.
const eventSize = 1 << 10

// visit calls f for every string of e, after giving its lists memory of their own.
func visit(e *event.Event, f func(*string)) {
	for _, s := range []*string{
		(*string)(&e.Name), &e.Agent, &e.ID, &e.Session, &e.TraceID, &e.SpanID, &e.Tenant, &e.Role, &e.Version, &e.Model, &e.Parent,
		&e.User, &e.CredentialID, &e.CredentialIssuer, &e.CredentialSubject, &e.Tool, &e.CallID, &e.ToolHash, &e.Server, &e.Method,
		(*string)(&e.Effect), &e.Privilege, &e.Resource, (*string)(&e.Sensitivity), &e.Destination, (*string)(&e.Trust),
		(*string)(&e.Origin), &e.Hash, &e.Simhash, &e.Store, &e.Record, &e.ErrorType, &e.Delegate,
	} {
		f(s)
	}
	for _, list := range []*[]string{&e.Chain, &e.PrincipalScopes, &e.CredentialScopes, &e.ArgKeys, &e.DelegateScopes} {
		visitList(list, f)
	}
	visitList(&e.Intents, func(s *event.Effect) { f((*string)(s)) })
	visitList(&e.ArgOrigins, func(m *event.Member[event.Origin]) { f(&m.Key); f((*string)(&m.Value)) })
	visitList(&e.ArgSources, func(m *event.Member[string]) { f(&m.Key); f(&m.Value) })
	visitList(&e.ArgHashes, func(m *event.Member[[]string]) { f(&m.Key); visitList(&m.Value, f) })
}

func visitList[L ~[]T, T any](list *L, f func(*T)) {
	if len(*list) == 0 {
		return
	}
	*list = append(L(nil), *list...)
	for i := range *list {
		f(&(*list)[i])
	}
}

func eventsTable() table[eventRow] {
	type r = eventRow
	text := func(name string, f func(*r) string) field[r] { return col(name, f) }
	return table[r]{"events", []field[r]{
		col("time", func(e *r) time.Time { return e.src.Claimed(e.Time).Time() }), // is in the key
		col("admitted", func(e *r) time.Time { return e.Time.Time() }),
		text("name", func(e *r) string { return string(e.Name) }),
		text("agent", func(e *r) string { return e.Agent }),
		text("id", func(e *r) string { return e.ID }),
		text("session", func(e *r) string { return e.Session }),
		col("seq", func(e *r) *int64 { return number(e.Seq) }),
		text("trace_id", func(e *r) string { return e.TraceID }),
		text("span_id", func(e *r) string { return e.SpanID }),
		text("tenant", func(e *r) string { return e.Tenant }),
		text("role", func(e *r) string { return e.Role }),
		text("version", func(e *r) string { return e.Version }),
		text("model", func(e *r) string { return e.Model }),
		text("parent", func(e *r) string { return e.Parent }),
		text("user", func(e *r) string { return e.User }),
		col("chain", func(e *r) []string { return e.Chain }),
		col("principal_scopes", func(e *r) []string { return e.PrincipalScopes }),
		text("credential_id", func(e *r) string { return e.CredentialID }),
		text("credential_issuer", func(e *r) string { return e.CredentialIssuer }),
		text("credential_subject", func(e *r) string { return e.CredentialSubject }),
		col("credential_scopes", func(e *r) []string { return e.CredentialScopes }),
		col("credential_expires", func(e *r) *time.Time { return maybe(e.CredentialExpires) }),
		text("tool", func(e *r) string { return e.Tool }),
		text("call_id", func(e *r) string { return e.CallID }),
		text("tool_hash", func(e *r) string { return e.ToolHash }),
		text("server", func(e *r) string { return e.Server }),
		text("method", func(e *r) string { return e.Method }),
		text("effect", func(e *r) string { return string(e.Effect) }),
		text("privilege", func(e *r) string { return e.Privilege }),
		text("resource", func(e *r) string { return e.Resource }),
		text("sensitivity", func(e *r) string { return string(e.Sensitivity) }),
		text("destination", func(e *r) string { return e.Destination }),
		col("arg_keys", func(e *r) []string { return e.ArgKeys }),
		col("arg_origins", func(e *r) members[event.Origin] { return members[event.Origin](e.ArgOrigins) }),
		col("arg_sources", func(e *r) members[string] { return members[string](e.ArgSources) }),
		col("arg_hashes", func(e *r) members[[]string] { return members[[]string](e.ArgHashes) }),
		text("trust", func(e *r) string { return string(e.Trust) }),
		col("intents", func(e *r) []string { return texts(e.Intents) }),
		text("origin", func(e *r) string { return string(e.Origin) }),
		text("hash", func(e *r) string { return e.Hash }),
		text("simhash", func(e *r) string { return e.Simhash }),
		text("memory_store", func(e *r) string { return e.Store }),
		text("memory_record", func(e *r) string { return e.Record }),
		col("input_tokens", func(e *r) *int64 { return number(e.InputTokens) }),
		col("output_tokens", func(e *r) *int64 { return number(e.OutputTokens) }),
		col("cost", func(e *r) *float64 { return number(e.Cost) }),
		col("bytes", func(e *r) *int64 { return number(e.Bytes) }),
		col("duration", func(e *r) *float64 { return number(e.Duration) }),
		text("error_type", func(e *r) string { return e.ErrorType }),
		text("delegate", func(e *r) string { return e.Delegate }),
		col("delegate_scopes", func(e *r) []string { return e.DelegateScopes }),
		col("ingested", func(e *r) time.Time { return e.ingested }),
		text("src_topic", func(e *r) string { return e.src.Topic }),
		col("src_partition", func(e *r) uint32 { return uint32(e.src.Partition) }),
		col("src_offset", func(e *r) uint64 { return uint64(e.src.Offset) }),
		col("src_line", func(e *r) uint32 { return uint32(e.src.Line) }),
	}}
}
