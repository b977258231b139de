package entity

import (
	"encoding/json"
	"fmt"

	"github.com/stakeout-project/stakeout/ingest/event"
)

// A Cut stands among the facts of a partition and says that before it all facts
// have been told whose place is not after Until: they can be judged. It is part of the
// log, so that whoever reads the log again judges the same facts in the same order.
type Cut struct {
	Until event.Timestamp `json:"until"`
}

// Encode returns c as JSON.
func (c Cut) Encode() ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode cut: %w", err)
	}
	return b, nil
}

// ParseCut reads what [Cut.Encode] wrote. What is no cut is refused.
func ParseCut(b []byte) (Cut, error) {
	var c Cut
	if err := json.Unmarshal(b, &c); err != nil {
		return Cut{}, fmt.Errorf("cut: %w", err)
	}
	if c.Until <= 0 {
		return Cut{}, fmt.Errorf("cut: until: is missing or before 1970")
	}
	return c, nil
}
