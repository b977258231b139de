//go:build !linux

package chaos

import "os/exec"

// runTied runs cmd to its end.
func runTied(cmd *exec.Cmd, started chan<- error) error {
	err := cmd.Start()
	started <- err
	if err != nil {
		return err
	}
	return cmd.Wait()
}
