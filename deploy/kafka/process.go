package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
)

// stopTimeout is how long a broker may take to stop before it is killed.
const stopTimeout = 20 * time.Second

func (b *Broker) command(class string, args ...string) *exec.Cmd {
	return exec.Command(b.java, append([]string{
		"-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dlog4j2.configurationFile=" + filepath.Join(b.opts.Dir, "log4j2.properties"),
		"-cp", filepath.Join(b.jars, "*"), class,
	}, args...)...)
}

// Restart starts a broker that is down and waits until it answers or ctx ends.
func (b *Broker) Restart(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process != nil {
		return errors.New("start kafka: it is running")
	}
	out, err := os.OpenFile(b.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	cmd := b.command("kafka.Kafka", filepath.Join(b.opts.Dir, "server.properties"))
	cmd.Stdout, cmd.Stderr = out, out
	exited := make(chan struct{})
	started := make(chan error, 1)
	go func() {
		defer close(exited)
		err := runTied(cmd, started)
		b.exitErr = errors.Join(err, out.Close())
	}()
	if err := <-started; err != nil {
		<-exited
		return fmt.Errorf("start kafka: %w", err)
	}
	b.process, b.exited = cmd.Process, exited
	if err := b.wait(ctx, exited); err != nil {
		return fmt.Errorf("start kafka: %w: %s", errors.Join(err, b.end(syscall.SIGKILL)), b.tail())
	}
	b.opts.Log.Info("kafka started", "addr", b.Addr(), "pid", cmd.Process.Pid)
	return nil
}

// wait returns when the broker answers, and with an error when it ends first.
func (b *Broker) wait(ctx context.Context, exited <-chan struct{}) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if answers(ctx, b.Addr()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-exited:
			return errors.New("the process ended")
		case <-tick.C:
		}
	}
}

// answers reports whether a broker at addr knows its controller.
func answers(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := kafka.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return false
	}
	brokers, err := conn.Brokers()
	return err == nil && len(brokers) > 0
}

// Stop ends the broker as an operator would, and kills it when that takes too
// long. A paused broker is resumed first. It is no error when it is down.
func (b *Broker) Stop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end(syscall.SIGCONT, syscall.SIGTERM)
}

// Kill ends the broker at once, as a crash of the process does.
func (b *Broker) Kill() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end(syscall.SIGKILL)
}

func (b *Broker) end(signals ...os.Signal) error {
	if b.process == nil {
		return nil
	}
	for _, s := range signals {
		if err := b.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop kafka: %w", err)
		}
	}
	select {
	case <-b.exited:
	case <-time.After(stopTimeout):
		b.opts.Log.Warn("kafka does not stop, killing it", "pid", b.process.Pid)
		if err := b.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop kafka: %w", err)
		}
		<-b.exited
	}
	b.process = nil
	var exit *exec.ExitError
	if b.exitErr != nil && !errors.As(b.exitErr, &exit) {
		return fmt.Errorf("stop kafka: %w", b.exitErr)
	}
	return nil // however it ended, it was told to
}

// Ended reports whether the broker ended by itself, as it does when it can no
// longer write to its disk. [Broker.Kill] and [Broker.Restart] bring it back.
func (b *Broker) Ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process == nil {
		return false
	}
	select {
	case <-b.exited:
		return true
	default:
		return false
	}
}

// Pause stops the process without ending it: connections stay and nothing
// answers.
func (b *Broker) Pause() error { return b.signal(syscall.SIGSTOP) }

// Resume continues a paused process.
func (b *Broker) Resume() error { return b.signal(syscall.SIGCONT) }

func (b *Broker) signal(s os.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process == nil {
		return errors.New("signal kafka: it is down")
	}
	return b.process.Signal(s)
}

func (b *Broker) logFile() string { return filepath.Join(b.opts.Dir, "server.log") }

// tail is the end of what the broker wrote.
func (b *Broker) tail() string {
	text, err := os.ReadFile(b.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}
