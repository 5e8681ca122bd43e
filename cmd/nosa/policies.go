package main

import (
	"context"

	"nosa/policy"
)

// PoliciesCmd lists the methods of --policy.
type PoliciesCmd struct {
	Name string `arg:"" optional:"" help:"One of them, to list its options alone."`
}

// policyJSON is a method as --json writes it.
type policyJSON struct {
	Name    string       `json:"name"`
	About   string       `json:"about"`
	Paper   string       `json:"paper,omitempty"`
	Options []optionJSON `json:"options"`
}

type optionJSON struct {
	Key     string `json:"key"`
	Default string `json:"default"`
	Accepts string `json:"accepts"`
	About   string `json:"about"`
}

// Run implements the command.
func (c *PoliciesCmd) Run(_ context.Context, g *Globals) error {
	methods := policy.Methods()
	if c.Name != "" {
		m, err := policy.ByName(c.Name)
		if err != nil {
			return usage("%v", err)
		}
		methods = []policy.Method{m}
	}
	if g.JSON {
		list := make([]policyJSON, 0, len(methods))
		for _, m := range methods {
			x := policyJSON{Name: m.Name(), About: m.About(), Paper: m.Paper(), Options: []optionJSON{}}
			for _, o := range m.Options() {
				x.Options = append(x.Options, optionJSON{o.Key, o.Default, o.Accepts, o.About})
			}
			list = append(list, x)
		}
		return writeJSON(g.Stdout, list)
	}
	for i, m := range methods {
		if i > 0 {
			g.Stdout.Printf("\n")
		}
		g.Stdout.Printf("%s  %s\n", m.Name(), m.About())
		if m.Paper() != "" {
			g.Stdout.Printf("  %s\n", m.Paper())
		}
		t := newTable("", "", "", "")
		for _, o := range m.Options() {
			t.row("  "+o.Key, o.Default, o.About, "("+o.Accepts+")")
		}
		t.write(g.Stdout)
	}
	return nil
}
