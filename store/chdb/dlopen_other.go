//go:build !((linux || darwin) && (amd64 || arm64))

package chdb

import (
	"fmt"
	"runtime"
)

// dlopen reports that there is no engine for this platform.
func dlopen(string) (bind func(fptr any, symbol string) error, err error) {
	return nil, fmt.Errorf("there is no embedded ClickHouse engine for %s/%s: point store.url at a ClickHouse server", runtime.GOOS, runtime.GOARCH)
}
