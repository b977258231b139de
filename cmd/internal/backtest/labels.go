package backtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stakeout-project/stakeout/cmd/internal/input"
)

// Label is the truth about one session.
type Label struct {
	Session  string   `json:"session_id"`
	Class    string   `json:"class"`    // one of [classes]; others are counted, and neither right nor wrong
	Phase    string   `json:"phase"`    // warmup or eval; empty: by time
	Fold     *int     `json:"fold"`     // of the user's task: 3 and 4 are jobs never seen in the warm-up
	Threat   string   `json:"threat"`   // with it the label is an attack, as `stakeout simulate` describes it,
	Sessions []string `json:"sessions"` // and these are its sessions
}

// Classes that sessions are counted by.
const (
	benign  = "benign"
	success = "attack_success"
	failed  = "attack_failed"
	direct  = "direct_request"
)

// fold names the half of the evaluation that a session belongs to.
func (l Label) fold() string {
	if l.Fold != nil && *l.Fold >= 3 {
		return "cold"
	}
	return "recurring"
}

func readLabels(name string) (labels map[string]Label, err error) {
	labels = map[string]Label{}
	if name == "" {
		return labels, nil
	}
	f, err := input.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	in, err := input.Plain(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, 1<<20)
	line := 0
	for scan.Scan() {
		if line++; len(bytes.TrimSpace(scan.Bytes())) == 0 {
			continue
		}
		if err := addLabels(labels, scan.Bytes()); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("%s: after line %d: %w", name, line, input.Explain(err))
	}
	return labels, nil
}

// addLabels takes in one line of labels.
func addLabels(labels map[string]Label, line []byte) error {
	var l Label
	var wrong *json.UnmarshalTypeError
	switch err := json.Unmarshal(line, &l); {
	case errors.As(err, &wrong) && wrong.Field != "":
		return fmt.Errorf("%s: is a %s, want %s", wrong.Field, wrong.Value, wrong.Type)
	case err != nil:
		return fmt.Errorf("is no JSON object (%w), %s", err, wantLabel)
	case l.Threat != "" && len(l.Sessions) > 0:
		l.Class = success
		for _, l.Session = range l.Sessions {
			labels[l.Session] = l
		}
		return nil
	case l.Session == "" || l.Class == "":
		return errors.New("has no session_id or no class, " + wantLabel)
	}
	labels[l.Session] = l
	return nil
}

const wantLabel = `want one such as {"session_id":"s1","class":"benign"} a line`
