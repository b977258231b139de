package chaos

import (
	"os/exec"
	"runtime"
	"syscall"
)

// runTied runs cmd to its end. The kernel kills it when the thread that started
// it ends, so it keeps that thread.
func runTied(cmd *exec.Cmd, started chan<- error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Start()
	started <- err
	if err != nil {
		return err
	}
	return cmd.Wait()
}
