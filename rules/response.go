package rules

import (
	"fmt"

	"github.com/stakeout-project/stakeout/triage"
)

// Response reads a response policy; an empty name stands for the shipped one.
func Response(name string) (triage.Policy, error) {
	file, data, err := read(name, "response.yaml")
	if err != nil {
		return triage.Policy{}, fmt.Errorf("read response policy: %w", err)
	}
	return ParseResponse(file, data)
}

// ParseResponse reads the response policy in data; errors name it file.
func ParseResponse(file string, data []byte) (triage.Policy, error) {
	var p triage.Policy
	if err := decode(file, data, &p); err != nil {
		return triage.Policy{}, err
	}
	if err := p.Validate(); err != nil {
		return triage.Policy{}, placed(file, data, err)
	}
	return p, nil
}
