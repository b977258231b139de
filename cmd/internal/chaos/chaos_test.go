package chaos

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stakeout-project/stakeout/store/chdb"
)

// binary builds stakeout and finds the engine it needs. Without the engine the
// test is skipped; on CI it has to be there.
func binary(t *testing.T, flags ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts many processes for a minute")
	}
	library, err := chdb.Find()
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if library, err = filepath.Abs(library); err != nil {
		t.Fatal(err)
	}
	t.Setenv(chdb.LibraryEnv, library)
	path := filepath.Join(t.TempDir(), "stakeout")
	args := append([]string{"build", "-o", path}, flags...)
	if out, err := exec.Command("go", append(args, "../../stakeout")...).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

func play(t *testing.T, cfg Config) Result {
	t.Helper()
	cfg.Dir = t.TempDir()
	res, err := Run(t.Context(), cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatalf("seed %d: %v", cfg.Seed, err)
	}
	t.Logf("%s; caught up after %s", res, res.CatchUp.Round(time.Millisecond))
	return res
}

// TestChaos breaks everything for half a minute. With other seeds, for longer
// and over real Kafka: make chaos.
func TestChaos(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Binary, cfg.Rounds, cfg.Seed = binary(t), 14, 7
	res := play(t, cfg)
	if err := res.Err(); err != nil {
		t.Errorf("seed %d:\n%v", cfg.Seed, err)
	}
	if res.Killed == 0 || res.Frozen == 0 || res.Cut == 0 || res.Findings == 0 || res.Actions == 0 {
		t.Errorf("%s: want some of everything", res)
	}
}

// TestHarnessNotices runs a detect role that commits offsets a moment before
// what they stand for is acknowledged. That is no loss until it is killed.
func TestHarnessNotices(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Binary = binary(t, "-tags", "chaosbroken")
	t.Run("left alone", func(t *testing.T) {
		cfg := cfg
		cfg.Rounds, cfg.only = 4, []string{"nobody"}
		if res := play(t, cfg); res.Killed != 0 || res.Err() != nil {
			t.Errorf("%s: want nothing lost:\n%v", res, res.Err())
		}
	})
	t.Run("killed", func(t *testing.T) {
		cfg := cfg
		cfg.Rounds, cfg.only, cfg.settle = 6, []string{"detect"}, 5*time.Second
		res := play(t, cfg)
		if res.Lost == 0 || res.Err() == nil {
			t.Errorf("%s: want a loss", res)
		}
		for _, p := range res.Problems {
			t.Logf("%.300s", p)
		}
	})
}

// TestTornWrites kills Kafka and NATS again and again, half of the time with the
// last write to a log cut short.
func TestTornWrites(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Binary, cfg.Rounds, cfg.Pause, cfg.only = binary(t), 10, 1500*time.Millisecond, []string{"kafka", "nats"}
	res := play(t, cfg)
	if err := res.Err(); err != nil {
		t.Errorf("seed %d:\n%v", cfg.Seed, err)
	}
	if res.Torn < 3 {
		t.Errorf("%d torn writes, want some", res.Torn)
	}
}
