// Package rules reads what operators write: detection rules and the response
// policy. A file is taken whole or refused whole, with every problem named by
// file and line.
package rules

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Shipped holds the files that are in force where the operator has written none.
//
//go:embed *.yaml *.schema.json
var Shipped embed.FS

// Schema is the JSON Schema of what operators write: response or detection. It
// says what a file may hold; what only the whole of a file shows, such as a kind
// that is commanded without a budget, the loader alone refuses.
func Schema(of string) ([]byte, error) {
	data, err := Shipped.ReadFile(of + ".schema.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no schema of %.40q, want response or detection", of)
	}
	return data, err
}

// read returns the named file, or the shipped one where name is empty.
func read(name, shipped string) (string, []byte, error) {
	if name == "" {
		data, err := Shipped.ReadFile(shipped)
		return shipped, data, err
	}
	data, err := os.ReadFile(name)
	return name, data, err
}

// decode reads one YAML document into v. A field that v does not have is an
// error, and so is a second document.
func decode(file string, data []byte, v any) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	var typed *yaml.TypeError
	switch err := d.Decode(v); {
	case errors.As(err, &typed):
		var errs []error
		for _, e := range typed.Errors {
			line, what, ok := strings.Cut(strings.TrimPrefix(e, "line "), ": ")
			if !ok {
				line, what = "1", e
			}
			errs = append(errs, fmt.Errorf("%s:%s: %s", file, line, inWords(what)))
		}
		return errors.Join(errs...)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: is empty", file)
	case err != nil:
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: holds more than one document, want one", file)
	}
	return nil
}

// placed puts file and line in front of each of the joined errors of a
// validation, whose messages start with the path of what they speak of, such
// as "detectors.drift.share: ".
func placed(file string, data []byte, err error) error {
	if err == nil {
		return nil
	}
	var root yaml.Node
	if uerr := yaml.Unmarshal(data, &root); uerr != nil {
		return fmt.Errorf("%s: %w", file, uerr)
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	var errs []error
	for _, e := range all {
		path, _, _ := strings.Cut(e.Error(), ": ")
		errs = append(errs, fmt.Errorf("%s:%d: %w", file, line(&root, path), e))
	}
	return errors.Join(errs...)
}

// line is the line of the deepest node on a path such as a.b[2].c.
func line(n *yaml.Node, path string) int {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		next := child(n, step)
		if next == nil {
			break
		}
		n = next
	}
	return max(n.Line, 1)
}

func child(n *yaml.Node, step string) *yaml.Node {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i]
		}
	}
	return nil
}
