package main

import (
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// table prints rows in columns that line up, in plain text. Columns of numbers line up at their last character.
type table struct {
	head []string
	rows [][]string
}

// maxCell bounds the width of a column: names in files from outside can be of any length.
const maxCell = 120

// number is what a cell of a column of numbers looks like, with its unit, or empty for none.
var number = regexp.MustCompile(`^([-+]?[0-9][0-9.,]*( ?[A-Za-zµ/%]{1,9})?|-|)$`)

// newTable names the columns. With empty names alone the table has no head.
func newTable(columns ...string) *table { return &table{head: columns} }

// row adds a line; missing cells stay empty, cells beyond the columns are dropped. Text is made printable, since a
// model's file may hold escape sequences that a terminal would obey.
func (t *table) row(cells ...string) {
	row := make([]string, len(t.head))
	for i := range row {
		if i < len(cells) {
			row[i] = printable(cells[i], maxCell)
		}
	}
	t.rows = append(t.rows, row)
}

// write prints the table; an error is w's to keep.
func (t *table) write(w io.Writer) { _, _ = io.WriteString(w, t.String()) }

// String is the whole table, without trailing blanks, two blanks between columns. A table without rows is empty.
func (t *table) String() string {
	if len(t.rows) == 0 {
		return ""
	}
	width, right := make([]int, len(t.head)), make([]bool, len(t.head))
	lines := t.rows
	if strings.Join(t.head, "") != "" {
		lines = append([][]string{t.head}, t.rows...)
	}
	for _, row := range lines {
		for i, c := range row {
			width[i] = max(width[i], runewidth.StringWidth(c))
		}
	}
	for i := range right {
		right[i] = !slices.ContainsFunc(t.rows, func(row []string) bool { return !number.MatchString(row[i]) })
	}
	var b strings.Builder
	for _, row := range lines {
		var line strings.Builder
		for i, c := range row {
			blanks := strings.Repeat(" ", width[i]-runewidth.StringWidth(c))
			if i > 0 {
				line.WriteString("  ")
			}
			if right[i] {
				line.WriteString(blanks + c)
			} else {
				line.WriteString(c + blanks)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// printable makes text from outside harmless on a terminal: control characters and what reorders text become '?', and
// what is longer than most runes is cut.
func printable(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			b.WriteString("…")
			break
		}
		if unsafe(r) || r == 0xfffd {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// unsafe tells the characters that a terminal obeys, or that change the order of what it shows.
func unsafe(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, r >= 0x200e && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}
