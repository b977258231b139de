package kafka

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

//go:embed pom.xml
var pom []byte

// jars finds the directory of the broker's jars and fills it when it is not
// there. It is named after the contents of pom.xml, and appears only complete.
func jars(ctx context.Context, log *slog.Logger) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(pom)
	dir := filepath.Join(cache, "stakeout", "kafka", hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", fmt.Errorf("mvn, to get the broker's jars: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	if err != nil {
		return "", err
	}
	file, libs := filepath.Join(tmp, "pom.xml"), filepath.Join(tmp, "lib")
	if err := os.WriteFile(file, pom, 0o600); err != nil {
		return "", errors.Join(err, os.RemoveAll(tmp))
	}
	log.Info("getting the jars of kafka", "dir", dir)
	out, err := runWithin(ctx, exec.Command(mvn, "-q", "-B", "-f", file, "dependency:copy-dependencies", "-DoutputDirectory="+libs))
	if err != nil {
		return "", errors.Join(fmt.Errorf("get the jars with %s: %w: %s", mvn, err, out), os.RemoveAll(tmp))
	}
	// Who comes second finds the directory there, and that is as good.
	if err := os.Rename(libs, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", errors.Join(err, os.RemoveAll(tmp))
	}
	return dir, os.RemoveAll(tmp)
}

// runWithin runs a command to its end and returns what it wrote.
func runWithin(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, time.Second
	started := make(chan error, 1)
	done := make(chan error, 1)
	go func() { done <- runTied(cmd, started) }()
	if err := <-started; err != nil {
		<-done
		return "", err
	}
	select {
	case err := <-done:
		return out.String(), err
	case <-ctx.Done():
		kill := cmd.Process.Kill()
		return out.String(), errors.Join(context.Cause(ctx), kill, <-done)
	}
}

// runTied starts a process that ends with ours, reports whether that worked,
// and waits for its end. The kernel ties a process to the thread that started
// it, so the thread is kept.
func runTied(cmd *exec.Cmd, started chan<- error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tie(cmd)
	err := cmd.Start()
	started <- err
	if err != nil {
		return err
	}
	return cmd.Wait()
}
