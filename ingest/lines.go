package ingest

import "bytes"

// space is the white space of JSON.
const space = " \t\r\n"

var newline = []byte{'\n'}

// lined reports whether value is several lines to be read one by one: at least
// one of them looks like an object. One object over many lines is read whole,
// and binary garbage is refused whole.
func lined(value []byte) bool {
	if bytes.IndexByte(value, '\n') < 0 {
		return false
	}
	for line := range bytes.SplitSeq(value, newline) {
		line = bytes.Trim(line, space)
		if len(line) > 1 && line[0] == '{' && line[len(line)-1] == '}' {
			return true
		}
	}
	return false
}
