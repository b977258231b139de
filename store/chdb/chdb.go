// Package chdb is the ClickHouse engine for those who run no ClickHouse server:
// libchdb, the engine as one shared library, behind the HTTP interface that
// ClickHouse's own clients speak.
//
// The engine runs in a child process ([Start]), on loopback, behind a password.
// A crash of the engine then costs a restart and not the pipeline, and the code
// that stores and queries is the same as against a server. The child is our own
// binary, executed again under a hidden subcommand that calls [Child].
//
// The package loads the library at run time, without cgo, on Linux and macOS.
package chdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// LibraryEnv names the environment variable that holds the path of the library.
const LibraryEnv = "STAKEOUT_LIBCHDB"

// howToGet is what a person can do about a missing library, in one line.
const howToGet = "run `npm ci --prefix store/chdb`, or set " + LibraryEnv + " to the path of libchdb.so, or point store.url at a ClickHouse server"

// Find returns the path of the engine's library: the one that the environment
// variable [LibraryEnv] names, or the first there is of lib/libchdb.so beside
// the executable, stakeout/libchdb.so among the user's data, and what npm
// installed under store/chdb, seen from the working directory or from any
// directory above the executable.
func Find() (string, error) {
	if path := os.Getenv(LibraryEnv); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s: %w; %s", LibraryEnv, err, howToGet)
		}
		return path, nil
	}
	for _, path := range candidates() {
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for the ClickHouse engine: %w", err)
		}
	}
	return "", errors.New("the ClickHouse engine (libchdb) is not installed: " + howToGet)
}

// candidates lists where the library may be, best first. The npm
// packages call it libchdb.so on macOS, too.
func candidates() []string {
	var paths []string
	npm := filepath.Join("store", "chdb", "node_modules", "@chdb", npmPackage(), "libchdb.so")
	exe, exeErr := os.Executable()
	if exeErr == nil {
		paths = append(paths, filepath.Join(filepath.Dir(exe), "lib", "libchdb.so"))
	}
	if dir := dataDir(); dir != "" {
		paths = append(paths, filepath.Join(dir, "stakeout", "libchdb.so"))
	}
	if wd, err := os.Getwd(); err == nil {
		paths = append(paths, above(wd, npm)...)
	}
	if exeErr == nil {
		paths = append(paths, above(filepath.Dir(exe), npm)...)
	}
	return paths
}

// above joins rel to dir and to each directory above it, nearest first.
func above(dir, rel string) []string {
	var paths []string
	for {
		paths = append(paths, filepath.Join(dir, rel))
		parent := filepath.Dir(dir)
		if parent == dir {
			return paths
		}
		dir = parent
	}
}

// dataDir is where the user's programs keep their data, or empty.
func dataDir() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support")
	}
	return filepath.Join(home, ".local", "share")
}

// npmPackage is the name of the npm package with the library for this platform.
func npmPackage() string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	if runtime.GOOS == "linux" {
		return "lib-linux-" + arch + "-gnu"
	}
	return "lib-" + runtime.GOOS + "-" + arch
}
