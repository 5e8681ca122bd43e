package eval

import (
	"fmt"
	"slices"
	"strings"
)

// Table is the summary in Markdown: for each kind of result a row for each task and length, and a column for each setting.
func (s *Summary) Table() string {
	var b strings.Builder
	for _, t := range []struct {
		title string
		cell  func(Cell) string
	}{
		{"Score, % (samples)", func(c Cell) string {
			if c.Perplexity != nil || c.Fidelity != nil || c.Locality != nil {
				return ""
			}
			return fmt.Sprintf("%.2f (%d)", c.Score, c.Samples)
		}},
		{"Perplexity by token (tokens)", func(c Cell) string {
			if c.Perplexity == nil {
				return ""
			}
			return fmt.Sprintf("%.4f (%d)", c.Perplexity.Perplexity, c.Perplexity.Tokens)
		}},
		{"KL to full attention, nats; top-1 agreement; attention mass kept", func(c Cell) string {
			if c.Fidelity == nil {
				return ""
			}
			kept := "not seen"
			if c.Fidelity.Mass != nil {
				kept = fmt.Sprintf("%.2f %%", 100**c.Fidelity.Mass)
			}
			return fmt.Sprintf("%.5f; %.2f %%; %s", c.Fidelity.KL, 100*c.Fidelity.Agree, kept)
		}},
		{"Hit rate: the last selection kept; twice as many slots as selected blocks", func(c Cell) string {
			if c.Locality == nil {
				return ""
			}
			var rates [2]string
			for _, p := range c.Locality.Pools {
				switch p.Slots {
				case 0:
					rates[0] = fmt.Sprintf("%.2f %%", 100*over(float64(p.Hits), float64(p.Selected)))
				case 2:
					rates[1] = fmt.Sprintf("%.2f %%", 100*over(float64(p.Hits), float64(p.Selected)))
				}
			}
			return rates[0] + "; " + rates[1]
		}},
		{"KV bytes held, and of full attention's", func(c Cell) string {
			if c.KVShare == 0 {
				return ""
			}
			return fmt.Sprintf("%.0f (%.1f %%)", c.KVBytes, 100*c.KVShare)
		}},
		{"Tokens per second: prefill; decode", func(c Cell) string {
			if c.DecodeSpeed == 0 {
				return ""
			}
			return fmt.Sprintf("%.1f; %.1f", c.PrefillSpeed, c.DecodeSpeed)
		}},
	} {
		s.part(&b, t.title, t.cell)
	}
	return b.String()
}

// row is a task at a length.
type row struct {
	task   string
	length int
}

// part writes a table, if any cell has something.
func (s *Summary) part(b *strings.Builder, title string, text func(Cell) string) {
	var rows []row
	cells := map[row]map[int]string{} // by setting
	for i, set := range s.Settings {
		for _, c := range set.Cells {
			t := text(c)
			if t == "" {
				continue
			}
			r := row{c.Task, c.Length}
			if cells[r] == nil {
				rows, cells[r] = append(rows, r), map[int]string{}
			}
			cells[r][i] = t
		}
	}
	if len(rows) == 0 {
		return
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		if d := order(a.task) - order(b.task); d != 0 {
			return d
		}
		if d := strings.Compare(a.task, b.task); d != 0 {
			return d
		}
		return a.length - b.length
	})
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	fmt.Fprintf(b, "### %s\n\n| task | length |", title)
	for _, set := range s.Settings {
		fmt.Fprintf(b, " %s |", strings.ReplaceAll(set.Name, "|", "\\|"))
	}
	b.WriteString("\n|---|--:|" + strings.Repeat("--:|", len(s.Settings)) + "\n")
	for _, r := range rows {
		fmt.Fprintf(b, "| %s | %d |", r.task, r.length)
		for i := range s.Settings {
			fmt.Fprintf(b, " %s |", cells[r][i])
		}
		b.WriteByte('\n')
	}
	if title == "Score, % (samples)" {
		s.averages(b)
	}
}

// averages writes RULER's, where all thirteen are there.
func (s *Summary) averages(b *strings.Builder) {
	var lengths []int
	means := make([]map[int]float64, len(s.Settings))
	for i := range s.Settings {
		means[i] = s.Settings[i].Averages()
		for length := range means[i] {
			if !slices.Contains(lengths, length) {
				lengths = append(lengths, length)
			}
		}
	}
	slices.Sort(lengths)
	for _, length := range lengths {
		fmt.Fprintf(b, "| RULER, mean of 13 | %d |", length)
		for i := range s.Settings {
			if v, ok := means[i][length]; ok {
				fmt.Fprintf(b, " %.2f |", v)
			} else {
				b.WriteString("  |")
			}
		}
		b.WriteByte('\n')
	}
}
