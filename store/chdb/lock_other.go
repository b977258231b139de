//go:build !(linux || darwin)

package chdb

import (
	"context"
	"fmt"
	"runtime"
)

// lock reports that there is no engine for this platform.
func lock(context.Context, string) (unlock func() error, err error) {
	return nil, fmt.Errorf("there is no embedded ClickHouse engine for %s/%s: point store.url at a ClickHouse server", runtime.GOOS, runtime.GOARCH)
}
