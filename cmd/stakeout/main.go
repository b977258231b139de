// Command stakeout watches what AI agents do, finds when one stops behaving
// like itself, and has its credentials revoked.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends us at once
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, errSilent) {
			fmt.Fprintln(os.Stderr, "stakeout:", err)
		}
		os.Exit(1)
	}
}

// errSilent ends with a failure that was explained already.
var errSilent = errors.New("failed")

func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) error {
	cmd := newRoot()
	cmd.SetArgs(args)
	cmd.SetIn(in)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	ran, err := cmd.ExecuteContextC(ctx)
	if err != nil && strings.HasPrefix(err.Error(), "required flag(s) ") { // of cobra, which asks nobody how to say it
		return see(ran, err)
	}
	return err
}
