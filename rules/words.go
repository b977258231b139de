package rules

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	unknownField = regexp.MustCompile(`^field (.+) not found in type \S+$`)
	twiceField   = regexp.MustCompile(`^field (.+) already set in type \S+$`)
	otherKind    = regexp.MustCompile("^cannot unmarshal !!(\\w+)(?: `(.*)`)? into (\\S+)$")
)

// inWords says in an operator's words what the YAML library says in those of our code.
func inWords(what string) string {
	if m := unknownField.FindStringSubmatch(what); m != nil {
		return m[1] + ": is no key here"
	}
	if m := twiceField.FindStringSubmatch(what); m != nil {
		return m[1] + ": stands twice"
	}
	m := otherKind.FindStringSubmatch(what)
	if m == nil {
		return what
	}
	is := fmt.Sprintf("is %q", m[2])
	switch {
	case m[1] == "map":
		is = "is a mapping"
	case m[1] == "seq":
		is = "is a list"
	}
	return is + ", want " + wanted(m[3])
}

// wanted names what a value of a Go type is written as.
func wanted(typ string) string {
	typ = strings.TrimPrefix(typ, "*")
	switch {
	case typ == "time.Duration":
		return "a time such as 30s or 1h30m"
	case strings.HasPrefix(typ, "[]"):
		return "a list"
	case typ == "bool":
		return "true or false"
	case strings.HasPrefix(typ, "float"):
		return "a number"
	case strings.HasPrefix(typ, "int"), strings.HasPrefix(typ, "uint"):
		return "a whole number"
	case typ == "command.Kind", typ == "command.Mode", typ == "triage.Severity":
		return "a word"
	case typ == "string":
		return "a text"
	}
	return "a mapping"
}
