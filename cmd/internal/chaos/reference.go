package chaos

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/detect/entity"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A reference is what the pipeline has to come to: ingest and detect over the
// same log in one go, in this process, with nothing in between.
type reference struct {
	events   map[string]bool           // ids
	rejects  int                       // lines that are no events
	findings map[string]string         // JSON by id
	sessions map[[2]string]bool        // agent and session of every finding: one incident each
	profiles map[string]detect.Summary // by agent
}

// refer runs the reference over the raw topic as it is: what the load sent
// twice because it saw no answer is part of the log. An agent's lines are all in
// one partition, so partitions follow one another; what agents share is judged when
// all have told what they know of it.
func refer(raw []*kgo.Record, rules detect.Rules) (*reference, error) {
	ref := &reference{events: map[string]bool{}, findings: map[string]string{}, sessions: map[[2]string]bool{}, profiles: map[string]detect.Summary{}}
	var decoder, second event.Decoder
	var ev, judged event.Event
	engine, shared := detect.New(rules), entity.New(rules)
	told := entity.NewQueue(math.MaxInt)
	for i, r := range raw {
		if err := decoder.Decode(r.Value, &ev); err != nil {
			ref.rejects++
			continue
		}
		ahead, err := ev.Admit(r.Timestamp)
		if err != nil {
			ref.rejects++
			continue
		}
		ref.events[string(append([]byte(nil), ev.ID...))] = true
		if err := second.Decode(ev.AppendJSON(nil), &judged); err != nil {
			return nil, fmt.Errorf("decode event %s again: %w", ev.ID, err)
		}
		src := event.Source{Topic: r.Topic, Partition: int(r.Partition), Offset: r.Offset, Ahead: ahead}
		if err := ref.add(engine.Observe(&judged, int64(i), src)); err != nil {
			return nil, err
		}
		for _, f := range engine.Facts() {
			f, err := detect.ParseFact(f.AppendJSON(nil))
			if err != nil {
				return nil, err
			}
			told.Add(&f, nil)
		}
	}
	for f, _, ok := told.Next(math.MaxInt64); ok; f, _, ok = told.Next(math.MaxInt64) {
		if err := ref.add(shared.Observe(f)); err != nil {
			return nil, err
		}
	}
	for agent, b := range engine.Changed() {
		s, err := detect.Summarize(agent, b)
		if err != nil {
			return nil, err
		}
		ref.profiles[agent] = s
	}
	return ref, nil
}

func (ref *reference) add(found []detect.Finding) error {
	for _, f := range found {
		text, err := json.Marshal(f)
		if err != nil {
			return fmt.Errorf("encode finding %s: %w", f.ID, err)
		}
		ref.findings[f.ID] = string(text)
		ref.sessions[[2]string{f.Agent, f.Session}] = true
	}
	return nil
}
