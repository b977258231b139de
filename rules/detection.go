package rules

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/stakeout-project/stakeout/detect"
)

// detection is the form of a file of detection rules.
type detection struct {
	Version   string              `yaml:"version"`
	Budget    float64             `yaml:"budget"`
	Detectors map[string]detector `yaml:"detectors"`
	BOM       *detect.BOM         `yaml:"bom"`
}

type detector struct {
	Share float64       `yaml:"share"`
	Prior *detect.Prior `yaml:"prior"`
}

// detectors makes every detector there is from its prior.
var detectors = []struct {
	name  string
	prior bool
	make  func(detect.Prior) detect.Detector
}{
	{"first_use", true, func(p detect.Prior) detect.Detector { return detect.FirstUse{Prior: p} }},
	{"privilege_drift", false, func(detect.Prior) detect.Detector { return detect.Drift{} }},
	{"entitlement", true, func(p detect.Prior) detect.Detector { return detect.Entitlement{Prior: p} }},
	{"provenance", true, func(p detect.Prior) detect.Detector { return detect.Provenance{Prior: p} }},
	{"memory", true, func(p detect.Prior) detect.Detector { return detect.Memory{Prior: p} }},
	{"slow_drift", false, func(detect.Prior) detect.Detector { return detect.SlowDrift{} }},
	{"inheritance", true, func(p detect.Prior) detect.Detector { return detect.Inheritance{Prior: p} }},
	{"credential", true, func(p detect.Prior) detect.Detector { return detect.CredentialMisuse{Prior: p} }},
	{"supply_chain", true, func(p detect.Prior) detect.Detector { return detect.SupplyChain{Prior: p} }},
	{"telemetry", true, func(p detect.Prior) detect.Detector { return detect.Telemetry{Prior: p} }},
	{"exfiltration", true, func(p detect.Prior) detect.Detector { return detect.Exfiltration{Prior: p} }},
	{"amplification", true, func(p detect.Prior) detect.Detector { return detect.Amplification{Prior: p} }},
	{"beacon", true, func(p detect.Prior) detect.Detector { return detect.Beacon{Prior: p} }},
	{"dormant", true, func(p detect.Prior) detect.Detector { return detect.Dormant{Prior: p} }},
}

// Detection reads a file of detection rules; an empty name stands for the shipped ones.
func Detection(name string) (detect.Rules, error) {
	file, data, err := read(name, "detection.yaml")
	if err != nil {
		return detect.Rules{}, fmt.Errorf("read detection rules: %w", err)
	}
	return parseDetection(file, data)
}

func parseDetection(file string, data []byte) (detect.Rules, error) {
	var d detection
	if err := decode(file, data, &d); err != nil {
		return detect.Rules{}, err
	}
	rules := detect.Rules{Version: d.Version, Budget: d.Budget, BOM: d.BOM}
	var errs []error
	if d.Version == "" {
		errs = append(errs, errors.New("version: is missing, want a name that findings can quote"))
	}
	known := map[string]bool{}
	for _, make := range detectors {
		known[make.name] = true
		conf, ok := d.Detectors[make.name]
		if !ok {
			continue
		}
		prior := detect.Prior{}
		switch {
		case make.prior && conf.Prior == nil:
			errs = append(errs, fmt.Errorf("detectors.%s.prior: is missing, want {surprises: ..., days: ...}", make.name))
			continue
		case !make.prior && conf.Prior != nil:
			errs = append(errs, fmt.Errorf("detectors.%s.prior: this detector has none", make.name))
			continue
		case make.prior:
			prior = *conf.Prior
		}
		rules.Detectors = append(rules.Detectors, detect.Enabled{Detector: make.make(prior), Share: conf.Share})
	}
	for _, name := range detect.JointDetectors() {
		known[name] = true
		conf, ok := d.Detectors[name]
		if !ok {
			continue
		}
		joint := detect.Joint{Name: name, Share: conf.Share}
		switch {
		case joint.HasPrior() && conf.Prior == nil:
			errs = append(errs, fmt.Errorf("detectors.%s.prior: is missing, want {surprises: ..., days: ...}", name))
			continue
		case !joint.HasPrior() && conf.Prior != nil:
			errs = append(errs, fmt.Errorf("detectors.%s.prior: this detector has none", name))
			continue
		case conf.Prior != nil:
			joint.Prior = *conf.Prior
		}
		rules.Joint = append(rules.Joint, joint)
	}
	var unknown []string
	for name := range d.Detectors {
		if !known[name] {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	for _, name := range unknown {
		errs = append(errs, fmt.Errorf("detectors.%s: is no detector, want one of %s", name, names()))
	}
	if err := rules.Validate(); err != nil {
		errs = append(errs, err.(interface{ Unwrap() []error }).Unwrap()...)
	}
	return rules, placed(file, data, errors.Join(errs...))
}

func names() string {
	var all []string
	for _, d := range detectors {
		all = append(all, d.name)
	}
	all = append(all, detect.JointDetectors()...)
	return strings.Join(all, ", ")
}
