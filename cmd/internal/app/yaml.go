package app

import (
	"errors"
	"net/url"
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
	case string:
		if u, err := url.Parse(v); err == nil && u.User != nil {
			return u.Redacted()
		}
	case interface{ MarshalText() ([]byte, error) }:
		text, err := v.MarshalText()
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	return v
}

// What stands for a secret in a printed configuration.
const (
	hiddenSecret      = "(hidden)" // see [store.Secret]
	hiddenURLPassword = "xxxxx"    // see [url.URL.Redacted]
)

// validateSecrets refuses what was printed in place of a secret and then read back.
func (c Config) validateSecrets() error {
	var errs []error
	if string(c.Store.Password) == hiddenSecret {
		errs = append(errs, errors.New("password: was hidden when the configuration was printed, want it, or its file as store.password_file"))
	}
	if u, err := url.Parse(c.Store.URL); err == nil {
		if p, _ := u.User.Password(); p == hiddenURLPassword {
			errs = append(errs, errors.New("url: lacks the password, which was hidden when the configuration was printed, want it, or its file as store.password_file"))
		}
	}
	return errors.Join(errs...)
}
