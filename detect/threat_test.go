package detect

import (
	"slices"
	"testing"
)

// TestThreatsAreAll has every detector in force find a threat that is listed.
func TestThreatsAreAll(t *testing.T) {
	for _, d := range DefaultRules().Detectors {
		if a := d.Detector.About(); !slices.Contains(Threats(), a.Threat) {
			t.Errorf("%s finds %s, which is not among %v", a.Name, a.Threat, Threats())
		}
	}
}
