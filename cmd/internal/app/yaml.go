package app

import (
	"errors"
	"time"

	"go.yaml.in/yaml/v3"
)

// printable writes a configuration as YAML that people can read: durations and
// secrets as they write them.
type printable struct{}

func (printable) Unmarshal([]byte) (map[string]any, error) {
	return nil, errors.New("a printable configuration is only written")
}

func (printable) Marshal(m map[string]any) ([]byte, error) { return yaml.Marshal(plainly(m)) }

// plainly replaces values by the text that stands for them.
func plainly(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			m[key] = plainly(value)
		}
		return m
	case time.Duration:
		return v.String()
	case interface{ MarshalText() ([]byte, error) }:
		text, err := v.MarshalText()
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	return v
}
