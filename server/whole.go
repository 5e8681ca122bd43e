package server

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
)

// whole is an integer as JSON Schema has it: 1.0 is one, and what languages without
// integers write.
type whole int64

func (n *whole) UnmarshalJSON(data []byte) error {
	text := string(data)
	if text == "null" {
		return nil
	}
	v, err := wholeOf(text)
	if err != nil { // which encoding/json gives the field's name
		return &json.UnmarshalTypeError{Value: valueKind(data), Type: reflect.TypeFor[int64]()}
	}
	*n = whole(v)
	return nil
}

// wholeOf reads a number of JSON that has no fraction.
func wholeOf(text string) (int64, error) {
	v, err := strconv.ParseInt(text, 10, 64)
	if err == nil {
		return v, nil
	}
	f, bad := strconv.ParseFloat(text, 64)
	if bad != nil || f != math.Trunc(f) || f < math.MinInt64 || f >= math.MaxInt64 {
		return 0, err
	}
	if text[len(text)-1] >= '0' && !hasFraction(text) {
		return 0, err // digits alone, too many of them
	}
	return int64(f), nil
}

func hasFraction(text string) bool {
	for _, c := range text {
		if c == '.' || c == 'e' || c == 'E' {
			return true
		}
	}
	return false
}

// or is the number, or another one if there is none.
func (n *whole) or(otherwise int) int {
	if n == nil {
		return otherwise
	}
	return int(*n)
}

// valueKind is what a value of JSON is, in words.
func valueKind(data []byte) string {
	switch data[0] {
	case '"':
		return "a string"
	case '[':
		return "a list"
	case '{':
		return "an object"
	case 't', 'f':
		return "true or false"
	}
	return "the number " + string(data[:min(len(data), 32)])
}
