package chdb

import "syscall"

// childAttr keeps the terminal's interrupt from the child: its parent decides when it ends.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
