package app

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

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
			if strings.Contains(err.Error(), "into map[string]interface {}") { // the whole of it: a word, or a list
				return Config{}, fmt.Errorf("read configuration %s: is no YAML of settings, want such as 'stakeout config' prints", path)
			}
			return Config{}, fmt.Errorf("read configuration %s: %w", path, err)
		}
	}
	fromEnv := env.Provider(".", env.Opt{Prefix: EnvPrefix, EnvironFunc: func() []string { return environ }, TransformFunc: func(name, value string) (string, any) {
		if !strings.Contains(name, "__") {
			return "", nil // not a setting: STAKEOUT_CONFIG, STAKEOUT_LIBCHDB
		}
		return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, EnvPrefix)), "__", "."), value
	}})
	if err := mistaken(environ); err != nil {
		return Config{}, err
	}
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
			withUnit,
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

// mistaken refuses variables with one underscore where a setting has two, which would
// silently set nothing. Others are somebody else's, such as those that Kubernetes
// makes of a service's name.
func mistaken(environ []string) error {
	k := koanf.New(".")
	if err := k.Load(structs.Provider(DefaultConfig(), "koanf"), nil); err != nil {
		return fmt.Errorf("read configuration from the environment: %w", err)
	}
	meant := map[string]string{}
	for _, key := range k.Keys() {
		variable := EnvPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "__"))
		meant[strings.ReplaceAll(variable, "__", "_")] = variable
	}
	var errs []error
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if want, ok := meant[name]; ok && name != want {
			errs = append(errs, fmt.Errorf("environment: %s: is no setting, want %s", name, want))
		}
	}
	return errors.Join(errs...)
}

// withUnit refuses a number where a time is wanted: 30 would be so many nanoseconds.
func withUnit(from, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() || from == to {
		return value, nil
	}
	switch v := reflect.ValueOf(value); {
	case v.CanInt() && v.Int() != 0, v.CanUint() && v.Uint() != 0, v.CanFloat() && v.Float() != 0:
		return nil, errNoUnit
	}
	return value, nil
}

var errNoUnit = errors.New("is a number without a unit")

// readable says in our words what is wrong with settings.
func readable(err error) error {
	switch err := err.(type) {
	case *mapstructure.DecodeError:
		return wrong(err)
	case interface{ Unwrap() []error }:
		var errs []error
		for _, e := range err.Unwrap() {
			errs = append(errs, readable(e))
		}
		return errors.Join(errs...)
	case interface{ Unwrap() error }:
		return readable(err.Unwrap())
	}
	return err
}

// wrong says what is wrong with one setting, or with several that there are not.
func wrong(about *mapstructure.DecodeError) error {
	keys, unknown := strings.CutPrefix(about.Unwrap().Error(), "has invalid keys: ")
	if !unknown {
		if want := wish(reflect.TypeFor[Config](), about.Name()); want != "" {
			return fmt.Errorf("%s: cannot be read, want %s", about.Name(), want) // without the value: it may be a secret in a wrong place
		}
		return fmt.Errorf("%s: %w", about.Name(), about.Unwrap())
	}
	section := about.Name() + "."
	if section == fmt.Sprintf("%T.", Config{}) { // the whole
		section = ""
	}
	var errs []error
	for key := range strings.SplitSeq(keys, ", ") {
		errs = append(errs, fmt.Errorf("%s%s: is no setting, see 'stakeout config'", section, key))
	}
	return errors.Join(errs...)
}

// wish says what the setting with a key, within a section, is to be; empty if its type does not say so.
func wish(section reflect.Type, key string) string {
	first, rest, _ := strings.Cut(key, ".")
	for section.Kind() == reflect.Struct {
		f, ok := fieldOf(section, first)
		if !ok {
			return ""
		}
		if section = f; rest == "" {
			break
		}
		first, rest, _ = strings.Cut(rest, ".")
	}
	switch section {
	case reflect.TypeFor[time.Duration]():
		return "a time such as 30s or 1h30m"
	case reflect.TypeFor[slog.Level]():
		return "debug, info, warn or error"
	}
	switch section.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Int32:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return ""
}

// fieldOf is the type of the field of a section that a key names.
func fieldOf(section reflect.Type, key string) (reflect.Type, bool) {
	for f := range section.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("koanf"), ",")
		if name == key {
			return f.Type, true
		}
		if options == "squash" {
			if t, ok := fieldOf(f.Type, key); ok {
				return t, true
			}
		}
	}
	return nil, false
}

// YAML prints a configuration as a file that [Load] reads.
func (c Config) YAML() ([]byte, error) {
	k := koanf.New(".")
	if err := k.Load(structs.Provider(c, "koanf"), nil); err != nil {
		return nil, fmt.Errorf("print configuration: %w", err)
	}
	return k.Marshal(printable{})
}
