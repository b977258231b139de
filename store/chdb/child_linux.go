package chdb

import "syscall"

// childAttr makes the kernel kill the child when the thread that started it
// ends, and keeps the terminal's interrupt from it: its parent decides when it ends.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
