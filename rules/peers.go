package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

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
	var p detect.Peers
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &p, nil
}

// WritePeers writes what [Peers] reads.
func WritePeers(name string, p *detect.Peers) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write peers: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := json.NewEncoder(f).Encode(p); err != nil {
		return fmt.Errorf("write peers: %w", err)
	}
	return nil
}
