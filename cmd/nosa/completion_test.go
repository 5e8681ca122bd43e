package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestCompletionBash: bash takes the script, and completes by it.
func TestCompletionBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatalf("this test needs bash: %v", err)
	}
	script := nosa(t, nil, "completion", "bash")
	if script.code != exitDone || script.errors != "" {
		t.Fatalf("%+v", script)
	}
	check := exec.CommandContext(t.Context(), bash, "-n")
	check.Stdin = strings.NewReader(script.out)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("bash -n: %v\n%s", err, out)
	}
	for line, want := range map[string][]string{
		"nosa pu":                        {"pull"},
		"nosa --js":                      {"--json"},
		"nosa --quiet in":                {"inspect"},
		"nosa completion ":               {"bash", "fish", "zsh"},
		"nosa completion z":              {"zsh"},
		"nosa pull --rev":                {"--revision"},
		"nosa pull --revision ":          nil,
		"nosa pull -":                    {"-q", "--quiet", "-l", "--list", "--json", "--revision", "--include"},
		"nosa run --attention i":         {"infllmv2"},
		"nosa run --attention = i":       {"infllmv2"}, // as bash splits --attention=i
		"nosa run --attention =":         {"auto", "full", "infllmv2", "dma", "nosa"},
		"nosa run m --kv-dtype q":        {"q8", "q4"},
		"nosa run --kv-keep ":            {"lru", "selected"},
		"nosa run --topk-":               {"--topk-q"},
		"nosa bench ser":                 {"serve"},
		"nosa bench --comp":              {"--compare", "--compare-fa"},
		"nosa bench serve --conc":        {"--concurrency"},
		"nosa bench serve --end":         {"--endpoint"},
		"nosa bench serve --endpoint ":   {"completions", "chat"},
		"nosa serve --conc":              nil,
		"nosa inspect /no/such/file/at/": nil,
	} {
		words := strings.Fields(line)
		if strings.HasSuffix(line, " ") {
			words = append(words, "")
		}
		var quoted strings.Builder
		for _, w := range words {
			quoted.WriteString("'" + w + "' ")
		}
		text := script.out + "\nCOMP_WORDS=(" + quoted.String() + "); COMP_CWORD=" + count(len(words)-1) + "; _nosa; printf '%s\\n' \"${COMPREPLY[@]}\"\n"
		out, err := exec.CommandContext(t.Context(), bash, "--norc", "-c", text).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		got := strings.Fields(string(out))
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%q: %q is not among %v", line, w, got)
			}
		}
		if len(want) <= 1 && len(got) != len(want) {
			t.Errorf("%q: got %v, want %v", line, got, want)
		}
	}
}

// TestCompletionOthers: the scripts of zsh and fish name every command, flag and value, and the shells take them where
// they are installed.
func TestCompletionOthers(t *testing.T) {
	parser, err := newParser(&commands{}, &Globals{})
	if err != nil {
		t.Fatal(err)
	}
	for _, shell := range []string{"zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			script := nosa(t, nil, "completion", shell).out
			err := kong.Visit(parser.Model.Node, func(n kong.Visitable, next kong.Next) error {
				switch n := n.(type) {
				case *kong.Node:
					if n.Type == kong.CommandNode && !strings.Contains(script, n.Name) {
						t.Errorf("command %s is missing", n.Name)
					}
				case *kong.Flag:
					if !n.Hidden && n.Name != "help" && !strings.Contains(script, n.Name) {
						t.Errorf("flag --%s is missing", n.Name)
					}
					if values := strings.Join(values(n.Value), " "); !n.Hidden && !strings.Contains(script, values) {
						t.Errorf("values %s of --%s are missing", values, n.Name)
					}
				}
				return next(nil)
			})
			if err != nil {
				t.Fatal(err)
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Logf("%s is not installed: its script was not run", shell)
				return
			}
			check := exec.CommandContext(t.Context(), path, "-n")
			check.Stdin = strings.NewReader(script)
			if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s -n: %v\n%s", shell, err, out)
			}
		})
	}
}
