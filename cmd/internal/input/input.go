// Package input reads what people hand to a command: files, which may be
// compressed and may be other than they think. Its errors name the file and say
// what is to be done.
package input

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
)

// Check refuses what no file can be read from. It returns the size of the file,
// 0 for what has none before it is read, such as a pipe.
func Check(name string) (size int64, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	if info.IsDir() {
		return 0, fmt.Errorf("%s: is a directory, want a file, such as %s/*.jsonl", name, name)
	}
	if !info.Mode().IsRegular() {
		return 0, nil
	}
	return info.Size(), nil
}

// Open opens a file for [Plain].
func Open(name string) (*os.File, error) {
	if _, err := Check(name); err != nil {
		return nil, err
	}
	return os.Open(name)
}

// Plain undoes gzip where r is compressed, whatever its name.
func Plain(r io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	if magic, err := in.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, Explain(err)
		}
		in = bufio.NewReaderSize(z, 1<<20)
	}
	return in, nil
}

// Explain says what an error of reading means for the file.
func Explain(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the compressed data ends too soon (%w): the file was cut short, get it again", err)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return fmt.Errorf("the compressed data is damaged (%w): get the file again", err)
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("%w: want one JSON object a line", err)
	}
	return err
}
