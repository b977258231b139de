package backtest

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/event"
)

// A variation changes traces: an event and the label of its session, which it may both
// change; it reports whether to keep the event.
type variation struct {
	name string
	role string // what is measured; empty stands for all
	vary func(ev *event.Event, l *Label) bool
}

// warmupEnds is when agents have been watched for long enough, in the public traces.
var warmupEnds = time.Date(2026, 1, 19, 0, 0, 0, 0, time.UTC)

// unknownFold makes one fold of jobs unknown: its clean sessions come after the warm-up,
// and it is COLD. The others are RECURRING, but for those that were never known.
func unknownFold(fold int) variation {
	return variation{fmt.Sprintf("fold %d unknown", fold), "", func(ev *event.Event, l *Label) bool {
		switch of := *l.Fold; {
		case of == fold:
			if l.Phase == "warmup" {
				ev.Time += event.Timestamp(28 * 24 * time.Hour)
				l.Phase = "eval"
			}
			l.Fold = new(3)
		case of >= 3:
			l.Fold = nil
		}
		return true
	}}
}

// unknownRole leaves a role out of the warm-up. All its jobs are COLD then, not only those
// of one fold, which are four in some roles.
func unknownRole(role string) variation {
	return variation{"unknown role", role, func(ev *event.Event, l *Label) bool {
		if ev.Role != role {
			return true
		}
		l.Fold = new(3)
		return l.Phase != "warmup"
	}}
}

// others makes the last folds of jobs unknown in another suite, too, whose labels tell no phase.
func others() variation {
	return variation{"with another suite", "", func(ev *event.Event, l *Label) bool {
		return l.Phase != "" || *l.Fold < 3 || ev.Time.Time().After(warmupEnds)
	}}
}

// shorter keeps a part of the warm-up.
func shorter(name, role string, keep func(ev *event.Event) bool) variation {
	return variation{name, role, func(ev *event.Event, l *Label) bool { return l.Phase != "warmup" || keep(ev) }}
}

// without leaves something out of all events.
func without(name string, leave func(ev *event.Event)) variation {
	return variation{name, "", func(ev *event.Event, _ *Label) bool { leave(ev); return true }}
}

func one(of int, ev *event.Event) bool { return crc32.ChecksumIEEE([]byte(ev.Agent))%uint32(of) == 0 }

// variations are those of traces of so many roles.
func variations(roles []string) []variation {
	after := func(days int) func(ev *event.Event) bool {
		return func(ev *event.Event) bool { return ev.Time.Time().After(warmupEnds.AddDate(0, 0, -days)) }
	}
	all := []variation{without("as it is", func(*event.Event) {})}
	for fold := range 3 {
		all = append(all, unknownFold(fold))
	}
	for _, role := range roles {
		all = append(all, unknownRole(role))
	}
	for _, role := range roles {
		all = append(all, variation{"alone", role, func(ev *event.Event, _ *Label) bool { return ev.Role == role }})
	}
	for _, role := range roles {
		all = append(all, shorter("a day of the role", role, func(ev *event.Event) bool { return ev.Role != role || after(1)(ev) }))
	}
	return append(all,
		shorter("half of the warm-up", "", after(7)),
		shorter("a quarter of it", "", after(3)),
		shorter("a quarter of the agents", "", func(ev *event.Event) bool { return one(4, ev) }),
		without("no wishes", func(ev *event.Event) { ev.Intents = nil }),
		without("no sources", func(ev *event.Event) { ev.ArgSources = nil }),
		without("no hashes", func(ev *event.Event) { ev.ArgHashes = nil }),
		without("no origins", func(ev *event.Event) { ev.ArgOrigins, ev.ArgSources, ev.ArgHashes = nil, nil, nil }),
		without("no roles", func(ev *event.Event) { ev.Role = "" }),
		without("two tenants", func(ev *event.Event) {
			ev.Tenant = "a"
			if one(2, ev) {
				ev.Tenant = "b"
			}
		}),
	)
}

// varied writes traces as v changes them, and returns what runs over them.
func varied(t *testing.T, cfg Config, v variation) Config {
	t.Helper()
	labels, err := readLabels(cfg.Labels)
	if err != nil {
		t.Fatal(err)
	}
	var text, later []byte
	changed := map[string]Label{}
	_, err = read(t.Context(), cfg, func(int) {}, func(ev *event.Event, _ event.Source, _ detect.Operation) error {
		l, at := labels[ev.Session], ev.Time
		switch keep := v.vary(ev, &l); {
		case !keep:
			return nil
		case ev.Time > at:
			later = append(ev.AppendJSON(later), '\n')
		default:
			text = append(ev.AppendJSON(text), '\n')
		}
		changed[strings.Clone(ev.Session)] = l
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var truth []byte
	for _, l := range changed {
		line, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		truth = append(append(truth, line...), '\n')
	}
	dir := t.TempDir()
	cfg.Files, cfg.Labels = []string{filepath.Join(dir, "events")}, filepath.Join(dir, "labels")
	for name, b := range map[string][]byte{cfg.Files[0]: append(text, later...), cfg.Labels: truth} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

// pooled adds the traces of another suite, and their labels.
func pooled(t *testing.T, cfg Config, stem string) Config {
	t.Helper()
	var truth []byte
	for _, name := range []string{cfg.Labels, stem + ".labels.jsonl.gz"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		truth = append(truth, b...)
	}
	cfg.Labels = filepath.Join(t.TempDir(), "labels.gz")
	if err := os.WriteFile(cfg.Labels, truth, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Files = append(cfg.Files, stem+".jsonl.gz")
	return cfg
}

// TestGeneralises holds detection on public traces against what it was not made for:
// each fold of jobs, and each role, unknown in its turn; little to learn from; fields
// that a shipper does not send. It tells how attacks stand out from benign sessions in
// all, by one threshold, and from those of each role by its own.
func TestGeneralises(t *testing.T) {
	dir := traces(t)
	if dir == "" {
		return
	}
	file := filepath.Join(dir, "agentdojo")
	cfg := Config{Files: []string{file + ".jsonl.gz"}, Labels: file + ".labels.jsonl.gz", WarmupUntil: warmupEnds, Rules: detect.DefaultRules()}
	roles := []string{"dojo:banking", "dojo:slack", "dojo:travel", "dojo:workspace"}
	t.Logf("%-24s %-16s %s", "", "", "COLD: AUC, TPR at 5 % (by role) | RECURRING | attacks alerted, false findings, of the budget")
	sums := map[string][]float64{}
	views := variations(roles)
	for i, v := range append(views, others()) {
		of := cfg
		if i == len(views) {
			of = pooled(t, cfg, filepath.Join(dir, "tau"))
		}
		r, err := Run(t.Context(), varied(t, of, v), func(int) {})
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%-24s %-16s", v.name, v.role)
		for _, name := range []string{"cold", "recurring"} {
			f := r.Folds[name]
			if own, ok := r.Groups[v.role].Folds[name]; ok {
				all := v.name + ", " + name
				sums[all], sums[all+", one threshold"] = append(sums[all], own.TPR["0.05"]), append(sums[all+", one threshold"], f.TPR["0.05"])
				f = own
			} else if v.role != "" {
				line += " -                               |"
				continue
			}
			line += fmt.Sprintf(" %.3f %.2f (", f.AUC, f.TPR["0.05"])
			for i, role := range roles {
				if i > 0 {
					line += " "
				}
				line += fmt.Sprintf("%.2f", r.Groups[role].Folds[name].TPR["0.05"])
			}
			line += ") |"
		}
		if f := r.Folds["cold"]; v.role == "" && f.AUC < 0.88 {
			t.Errorf("%s: AUC %.3f of unknown jobs, want 0.88 or more", v.name, f.AUC)
		}
		t.Logf("%s %d of %d, %d, %.2f", line, r.Classes[success].Alerted, r.Classes[success].Sessions, r.False, r.Realised)
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		all, sum := sums[name], 0.0
		for _, x := range all {
			sum += x
		}
		t.Logf("%s: TPR at 5 %% on average %.2f, at least %.2f", name, sum/float64(len(all)), slices.Min(all))
	}
}
