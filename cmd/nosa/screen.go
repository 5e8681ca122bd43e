package main

import "strings"

// screenText makes a model's text harmless on a terminal: of all that could move the cursor, set colours, answer in the
// user's name or reorder text, only line ends and tabs are left. Each character is judged alone, so that it does not matter
// in what pieces the text comes.
func screenText(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case r == '\r':
			return -1
		case unsafe(r):
			return '?'
		}
		return r
	}, s)
}
