package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stakeout-project/stakeout/detect"
)

// Peers reads what is normal for peer groups; an empty name stands for nothing known.
func Peers(name string) (*detect.Peers, error) {
	if name == "" {
		return nil, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read peers: %w", err)
	}
	return parsePeers(name, data)
}

func parsePeers(name string, data []byte) (*detect.Peers, error) {
	var p detect.Peers
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &p, nil
}

// WritePeers writes what [Peers] reads, in place of what the file held before: who
// reads it meanwhile gets the one or the other.
func WritePeers(name string, p *detect.Peers) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return fmt.Errorf("write peers: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write peers: %w", errors.Join(err, os.Remove(f.Name())))
		}
	}()
	if err := errors.Join(json.NewEncoder(f).Encode(p), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
