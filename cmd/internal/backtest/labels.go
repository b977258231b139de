package backtest

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Label is the truth about one session.
type Label struct {
	Session string `json:"session_id"`
	Class   string `json:"class"` // benign, attack_success, attack_failed or direct_request
	Phase   string `json:"phase"` // warmup or eval; empty: by time
	Fold    *int   `json:"fold"`  // of the user's task: 3 and 4 are jobs never seen in the warm-up
}

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
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var in io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, 1<<20)
	for line := 1; scan.Scan(); line++ {
		var l Label
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		if l.Session == "" || l.Class == "" {
			return nil, fmt.Errorf("%s:%d: has no session_id or no class", name, line)
		}
		labels[l.Session] = l
	}
	return labels, scan.Err()
}
