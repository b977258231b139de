package kafka

import (
	"os/exec"
	"syscall"
)

// tie has the kernel kill the process when ours dies.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
