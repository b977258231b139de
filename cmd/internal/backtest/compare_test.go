package backtest

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/detect"
)

func TestCompare(t *testing.T) {
	cfg := world(t)
	a, b := detect.DefaultRules(), detect.DefaultRules()
	a.Version, b.Version = "with", "without"
	b.Detectors = nil
	for _, d := range a.Detectors {
		if d.About().Name != "provenance" {
			b.Detectors = append(b.Detectors, d)
		}
	}
	c, err := Compare(t.Context(), cfg, a, b, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	n := c.Detectors["provenance"]
	if n.Removed == 0 || n.Added != 0 || n.Kept != 0 || len(c.Removed) != c.A.Findings || c.B.Findings != 0 {
		t.Errorf("without provenance: %+v, %+v, %+v; want all of its findings removed", n, c.A, c.B)
	}
	for _, f := range c.Removed {
		if f.Agent == "" || f.Session == "" || f.Event == "" || f.Reason == "" || f.Class != "attack_success" || f.Time.Before(cfg.WarmupUntil) {
			t.Errorf("removed %+v, want who, where, when and why", f)
		}
	}
	back, err := Compare(t.Context(), cfg, b, a, func(int) {})
	if err != nil || len(back.Added) != len(c.Removed) || len(back.Removed) != 0 {
		t.Errorf("the other way round %d added, %d removed, error %v; want %d and 0", len(back.Added), len(back.Removed), err, len(c.Removed))
	}
	same, err := Compare(t.Context(), cfg, a, a, func(int) {})
	if err != nil || len(same.Kept) != same.A.Findings || len(same.Added)+len(same.Removed) != 0 {
		t.Errorf("with itself %+v, error %v; want all kept", same.Detectors, err)
	}
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"A  with:", "B  without: 0 findings", "removed  " + c.Removed[0].Time.Format(time.RFC3339), c.Removed[0].Reason} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
