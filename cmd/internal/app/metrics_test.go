package app

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/detect"
)

// TestMetricsOfDetectionAreTold wants each metric of detection that an alert or a panel asks for
// among those that the role tells.
func TestMetricsOfDetectionAreTold(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := newDetectionMetrics(reg, detect.DefaultRules()); err != nil {
		t.Fatal(err)
	}
	if _, err := newSharingMetrics(reg); err != nil {
		t.Fatal(err)
	}
	if _, err := newReloader("", "detect", reg, nil); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, f := range families {
		told = append(told, f.GetName())
	}
	described := make(chan *prometheus.Desc, 1000)
	reg.Describe(described) // of vectors without a value yet
	close(described)
	for d := range described {
		told = append(told, regexp.MustCompile(`fqName: "([^"]*)"`).FindStringSubmatch(d.String())[1])
	}
	for _, file := range []string{"provisioning/alerting/stakeout.yaml", "pipeline.json", "fleet.json"} {
		text, err := os.ReadFile("../../../dashboards/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`stakeout_detect_[a-z_]+`).FindAllString(string(text), -1) {
			name := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(m, "")
			if !slices.Contains(told, m) && !slices.Contains(told, name) {
				t.Errorf("%s asks for %s, which nobody tells", file, m)
			}
		}
	}
}
