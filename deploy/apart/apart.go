// Package apart runs a Kafka broker for a benchmark in a process of its own, so
// that the CPU of the benchmark's process is that of what it measures. It is for
// tests: the process is a copy of the test's.
package apart

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// role makes a copy of the test's process a broker.
const role = "STAKEOUT_TEST_BROKER"

// Main is for TestMain: it runs the tests, or is the broker that one of them has
// started, and returns the status to exit with.
func Main(m *testing.M) int {
	if os.Getenv(role) == "" {
		return m.Run()
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer cluster.Close()
	fmt.Println(cluster.ListenAddrs()[0])
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // ends with the parent
		fmt.Fprintln(os.Stderr, err)
	}
	return 0
}

// Start starts a broker that ends with the test, and returns its address.
func Start(tb testing.TB) (addr string) {
	tb.Helper()
	check := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(err)
	out, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	tb.Cleanup(func() {
		if err := in.Close(); err != nil {
			tb.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			tb.Error(err)
		}
	})
	addr, err = bufio.NewReader(out).ReadString('\n')
	check(err)
	return strings.TrimSpace(addr)
}

// CPU is what this process has used so far, in user and kernel mode.
func CPU(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
