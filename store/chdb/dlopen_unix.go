//go:build (linux || darwin) && (amd64 || arm64)

package chdb

import (
	"fmt"

	"github.com/ebitengine/purego"
)

// dlopen loads the library at path and returns a function that looks up a symbol
// of it and stores the C function in fptr, a pointer to a Go function variable.
func dlopen(path string) (bind func(fptr any, symbol string) error, err error) {
	h, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	return func(fptr any, symbol string) error {
		addr, err := purego.Dlsym(h, symbol)
		if err != nil {
			return fmt.Errorf("%s has no %s (is it another version?): %w", path, symbol, err)
		}
		purego.RegisterFunc(fptr, addr)
		return nil
	}, nil
}
