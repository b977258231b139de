//go:build !(linux || darwin)

package chdb

import "syscall"

func childAttr() *syscall.SysProcAttr { return nil }
