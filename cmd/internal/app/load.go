package app

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
)

// EnvPrefix begins the names of environment variables that set something:
// STAKEOUT_KAFKA__CLIENT_ID sets kafka.client_id.
const EnvPrefix = "STAKEOUT_"

// Load composes the configuration: defaults, then the file (if one is named),
// then the environment, then settings of the form key=value. A key that does
// not exist is an error, wherever it stands.
func Load(path string, environ []string, settings []string) (Config, error) {
	k := koanf.New(".")
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			return Config{}, fmt.Errorf("read configuration %s: %w", path, err)
		}
	}
	fromEnv := env.Provider(".", env.Opt{Prefix: EnvPrefix, EnvironFunc: func() []string { return environ }, TransformFunc: func(name, value string) (string, any) {
		if !strings.Contains(name, "__") {
			return "", nil // not a setting: STAKEOUT_CONFIG, STAKEOUT_LIBCHDB
		}
		return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, EnvPrefix)), "__", "."), value
	}})
	if err := k.Load(fromEnv, nil); err != nil {
		return Config{}, fmt.Errorf("read configuration from the environment: %w", err)
	}
	set := map[string]any{}
	for _, s := range settings {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return Config{}, fmt.Errorf("--set %s: want key=value, such as kafka.brokers=127.0.0.1:9092", s)
		}
		set[key] = value
	}
	if err := k.Load(confmap.Provider(set, "."), nil); err != nil {
		return Config{}, fmt.Errorf("--set: %w", err)
	}
	cfg := DefaultConfig()
	err := k.UnmarshalWithConf("", &cfg, koanf.UnmarshalConf{Tag: "koanf", DecoderConfig: &mapstructure.DecoderConfig{
		TagName: "koanf", Result: &cfg, ErrorUnused: true, WeaklyTypedInput: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(),
			mapstructure.StringToSliceHookFunc(","),
			mapstructure.TextUnmarshallerHookFunc()),
	}})
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", readable(err))
	}
	if err := cfg.Validate(); err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	return cfg, nil
}

// readable says of a key that does not exist what it is, in our words.
func readable(err error) error {
	var errs []error
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimSpace(line)
		if line == "" || strings.Contains(line, "error(s) decoding") || strings.HasPrefix(line, "decoding failed") {
			continue
		}
		errs = append(errs, errors.New(strings.TrimPrefix(line, "* ")))
	}
	return errors.Join(errs...)
}

// YAML prints a configuration as a file that [Load] reads.
func (c Config) YAML() ([]byte, error) {
	k := koanf.New(".")
	if err := k.Load(structs.Provider(c, "koanf"), nil); err != nil {
		return nil, fmt.Errorf("print configuration: %w", err)
	}
	return k.Marshal(printable{})
}
