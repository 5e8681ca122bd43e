package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"nosa/weights"
)

// InspectCmd tells what is in a model's files, without loading them.
type InspectCmd struct {
	Model    string `arg:"" help:"Hugging Face folder, .gguf file, the name of a pulled model, or builtin, the small one inside this binary."`
	Tensors  bool   `short:"t" help:"List every tensor."`
	Metadata bool   `short:"m" help:"List the metadata of a GGUF file."`
	Config   bool   `short:"c" help:"Print the configuration, config.json."`
}

// Run implements the command.
func (c *InspectCmd) Run(_ context.Context, g *Globals) (err error) {
	cp, err := openCheckpoint(c.Model)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cp.Close()) }()
	d := cp.Describe()
	if g.JSON {
		return writeJSON(g.Stdout, d)
	}
	if !c.Tensors && !c.Metadata && !c.Config {
		c.summary(g, d)
		return nil
	}
	if c.Config {
		g.Stdout.Printf("%s\n", text(cp.Config()))
	}
	if c.Metadata {
		t := newTable("key", "type", "value")
		for _, e := range d.Metadata {
			t.row(e.Key, e.Kind, e.Value)
		}
		t.write(g.Stdout)
	}
	if c.Tensors {
		t := newTable("tensor", "type", "shape", "size")
		for _, x := range d.Tensors {
			t.row(x.Name, x.Type, shapeText(x.Shape), sizeText(x.Bytes))
		}
		t.write(g.Stdout)
	}
	return nil
}

func (c *InspectCmd) summary(g *Globals, d weights.Description) {
	for _, line := range [][2]string{
		{"path", d.Path}, {"format", d.Format}, {"architecture", d.Architecture},
		{"parameters", manyText(d.Parameters)}, {"size", sizeText(d.Bytes)},
		{"tensors", count(len(d.Tensors))}, {"metadata", count(len(d.Metadata))},
	} {
		g.Stdout.Printf("%-13s %s\n", line[0], printable(line[1], 1000))
	}
	g.Stdout.Printf("\n")
	t := newTable("type", "tensors", "parameters", "size")
	for _, x := range d.Types {
		t.row(x.Type, count(x.Tensors), manyText(x.Parameters), sizeText(x.Bytes))
	}
	t.write(g.Stdout)
}

// text is a file's text with all but line breaks and tabs made printable.
func text(b []byte) string {
	lines := strings.Split(strings.TrimRight(string(b), "\r\n"), "\n")
	for i, l := range lines {
		cells := strings.Split(strings.TrimRight(l, "\r"), "\t")
		for j, c := range cells {
			cells[j] = printable(c, len(c))
		}
		lines[i] = strings.Join(cells, "\t")
	}
	return strings.Join(lines, "\n")
}

func shapeText(shape []int) string {
	parts := make([]string, len(shape))
	for i, n := range shape {
		parts[i] = strconv.Itoa(n)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func count(n int) string { return strconv.Itoa(n) }

// manyText is a count for people, exact and in thousands, millions or billions.
func manyText(n int64) string {
	for _, u := range []struct {
		one  float64
		name string
	}{{1e12, "T"}, {1e9, "B"}, {1e6, "M"}} {
		if float64(n) >= u.one {
			return fmt.Sprintf("%.1f %s", float64(n)/u.one, u.name)
		}
	}
	return strconv.FormatInt(n, 10)
}
