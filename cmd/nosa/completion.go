package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// CompletionCmd prints a script that completes nosa's command line. The script is made from the same structs that
// parse it, so that it can not fall behind.
type CompletionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"${enum}."`
}

// Help says where the script goes.
func (c *CompletionCmd) Help() string {
	return "bash: source <(nosa completion bash); zsh: nosa completion zsh > _nosa in a folder of $fpath; " +
		"fish: nosa completion fish > ~/.config/fish/completions/nosa.fish"
}

// Run implements the command.
func (c *CompletionCmd) Run(_ context.Context, g *Globals) error {
	parser, err := newParser(&commands{}, g)
	if err != nil {
		return err
	}
	words := completable(parser.Model.Node)
	switch c.Shell {
	case "bash":
		g.Stdout.Printf("%s", words.bash())
	case "zsh":
		g.Stdout.Printf("%s", words.zsh())
	case "fish":
		g.Stdout.Printf("%s", words.fish())
	}
	return nil
}

// wordsOf is what can be completed after a command: its name, flags, and the values of its first argument.
type wordsOf struct {
	name, help string // a name of two words is a command below a command
	flags      []flagWord
	values     []string // of the first argument, if they are a fixed set
	commands   []wordsOf
}

type flagWord struct {
	long, help string
	short      rune
	values     []string
	takes      bool // a value follows
}

// completable reads kong's model: what --help shows, and nothing hidden. A command may have a default, whose flags are
// its own, and commands below it, which are listed beside it.
func completable(n *kong.Node) wordsOf {
	w := wordsOf{name: n.Name, help: helpWord(n.Help)}
	flags := n.Flags
	if n.DefaultCmd != nil {
		flags = slices.Concat(flags, n.DefaultCmd.Flags)
	}
	for _, f := range flags {
		if !f.Hidden {
			w.flags = append(w.flags, flagWord{long: f.Name, short: f.Short, help: helpWord(f.Help), values: values(f.Value), takes: !f.IsBool()})
		}
	}
	if len(n.Positional) > 0 {
		w.values = values(n.Positional[0])
	}
	for _, c := range n.Children {
		if c.Hidden || c.Type != kong.CommandNode {
			continue
		}
		below := completable(c)
		w.commands = append(w.commands, below)
		for _, d := range below.commands {
			d.name = below.name + " " + d.name
			w.commands = append(w.commands, d)
		}
	}
	return w
}

// top are the commands that may come first.
func (w wordsOf) top() []wordsOf {
	return slices.DeleteFunc(slices.Clone(w.commands), func(c wordsOf) bool { return strings.Contains(c.name, " ") })
}

// next are the words that may follow a command: what is below it, and the values of its argument.
func (c wordsOf) next() []string {
	words := c.values
	for _, d := range c.commands {
		words = append(words, d.name)
	}
	return words
}

func values(v *kong.Value) []string {
	if v == nil || v.Enum == "" {
		return nil
	}
	return v.EnumSlice()
}

// helpWord is the first sentence of a help, without the characters that a shell could take for its own.
func helpWord(s string) string {
	s, _, _ = strings.Cut(s, ". ")
	s = strings.NewReplacer("'", "’", ": ", " – ").Replace(s)
	return strings.TrimRight(strings.Map(func(r rune) rune {
		if strings.ContainsRune("\"`$\\[]{}:\n", r) {
			return ' '
		}
		return r
	}, s), ". ")
}

// options are a command's flags as they are typed.
func options(flags []flagWord) []string {
	var s []string
	for _, f := range flags {
		s = append(s, "--"+f.long)
		if f.short != 0 {
			s = append(s, "-"+string(f.short))
		}
	}
	return s
}

// bash completes by a look at the word before, and at the first word that is a command. Files are completed where
// nothing else is known.
func (w wordsOf) bash() string {
	var b strings.Builder
	var names, paths []string
	for _, c := range w.top() {
		names = append(names, c.name)
	}
	for _, c := range w.commands {
		paths = append(paths, `"`+c.name+`"`)
	}
	fmt.Fprintf(&b, `# bash completion for %[1]s
_%[1]s() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd= word i
	COMPREPLY=()
	# --flag=value arrives as three words
	if [[ $cur == "=" ]]; then
		cur=
	elif [[ $prev == "=" ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${cmd:+$cmd }${COMP_WORDS[i]} in
		%[2]s)
			cmd=${cmd:+$cmd }${COMP_WORDS[i]}
			;;
		esac
	done
	case $cmd:$prev in
`, w.name, strings.Join(paths, "|"))
	for _, c := range w.commands {
		for _, f := range slices.Concat(w.flags, c.flags) {
			if !f.takes {
				continue
			}
			at := fmt.Sprintf("%q", c.name+":--"+f.long)
			if f.short != 0 {
				at += fmt.Sprintf("|%q", c.name+":-"+string(f.short))
			}
			if f.values == nil {
				fmt.Fprintf(&b, "\t%s) return ;;\n", at) // a value that only the user knows, or a file
			} else {
				fmt.Fprintf(&b, "\t%s)\n\t\tCOMPREPLY=($(compgen -W %q -- \"$cur\"))\n\t\treturn\n\t\t;;\n", at, strings.Join(f.values, " "))
			}
		}
	}
	b.WriteString("\tesac\n\tcase $cmd in\n")
	fmt.Fprintf(&b, "\t\"\") word=%q ;;\n", strings.Join(slices.Concat(names, options(w.flags)), " "))
	for _, c := range w.commands {
		fmt.Fprintf(&b, "\t%q) word=%q ;;\n", c.name, strings.Join(slices.Concat(c.next(), options(slices.Concat(w.flags, c.flags))), " "))
	}
	fmt.Fprintf(&b, `	esac
	COMPREPLY=($(compgen -W "$word" -- "$cur"))
}
complete -o default -F _%[1]s %[1]s
`, w.name)
	return b.String()
}

// zsh describes the flags to _arguments, which also shows their help.
func (w wordsOf) zsh() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %[1]s\n_%[1]s() {\n\tlocal curcontext=$curcontext state line\n\ttypeset -A opt_args\n\t_arguments -C \\\n", w.name)
	for _, f := range w.flags {
		fmt.Fprintf(&b, "\t\t%s \\\n", f.zsh())
	}
	b.WriteString("\t\t'1: :->command' '*:: :->rest'\n\tcase $state in\n\tcommand)\n\t\tlocal -a names=(\n")
	for _, c := range w.top() {
		fmt.Fprintf(&b, "\t\t\t'%s:%s'\n", c.name, c.help)
	}
	b.WriteString("\t\t)\n\t\t_describe command names\n\t\t;;\n\trest)\n\t\tcase $words[1]\\ $words[2] in\n")
	for _, c := range slices.Backward(w.commands) { // the longer names first
		pattern := strings.ReplaceAll(c.name, " ", `\ `)
		if !strings.Contains(c.name, " ") {
			pattern += `\ *`
		}
		fmt.Fprintf(&b, "\t\t%s)\n\t\t\t_arguments \\\n", pattern)
		for _, f := range slices.Concat(w.flags, c.flags) {
			fmt.Fprintf(&b, "\t\t\t\t%s \\\n", f.zsh())
		}
		switch words := c.next(); {
		case c.values != nil:
			fmt.Fprintf(&b, "\t\t\t\t'1: :(%s)'\n\t\t\t;;\n", strings.Join(words, " "))
		case words != nil: // or a file
			fmt.Fprintf(&b, "\t\t\t\t'1: :{compadd %s; _files}' '*: :_files'\n\t\t\t;;\n", strings.Join(words, " "))
		default:
			b.WriteString("\t\t\t\t'*: :_files'\n\t\t\t;;\n")
		}
	}
	fmt.Fprintf(&b, "\t\tesac\n\t\t;;\n\tesac\n}\nif [[ $funcstack[1] == _%[1]s ]]; then\n\t_%[1]s \"$@\"\nelse\n\tcompdef _%[1]s %[1]s\nfi\n", w.name)
	return b.String()
}

// zsh is a flag as _arguments takes it: 'names'[help]:what:values.
func (f flagWord) zsh() string {
	value := ""
	switch {
	case f.values != nil:
		value = ": :(" + strings.Join(f.values, " ") + ")"
	case f.takes:
		value = ": :_files"
	}
	if f.takes {
		if f.short != 0 {
			return fmt.Sprintf("'(-%[1]c --%[2]s)'{-%[1]c+,--%[2]s=}'[%[3]s]%[4]s'", f.short, f.long, f.help, value)
		}
		return fmt.Sprintf("'--%s=[%s]%s'", f.long, f.help, value)
	}
	if f.short != 0 {
		return fmt.Sprintf("'(-%[1]c --%[2]s)'{-%[1]c,--%[2]s}'[%[3]s]'", f.short, f.long, f.help)
	}
	return fmt.Sprintf("'--%s[%s]'", f.long, f.help)
}

// fish takes one line per word.
func (w wordsOf) fish() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# fish completion for %s\n", w.name)
	for _, f := range w.flags {
		fmt.Fprintf(&b, "complete -c %s%s\n", w.name, f.fish())
	}
	for _, c := range w.top() {
		fmt.Fprintf(&b, "complete -c %s -n __fish_use_subcommand -f -a %s -d '%s'\n", w.name, c.name, c.help)
	}
	for _, c := range w.commands {
		seen := fmt.Sprintf("complete -c %s -n '%s'", w.name, w.fishSeen(c.name))
		if words := c.next(); words != nil {
			fmt.Fprintf(&b, "%s -f -a '%s'\n", seen, strings.Join(words, " "))
		}
		for _, f := range c.flags {
			fmt.Fprintf(&b, "%s%s\n", seen, f.fish())
		}
	}
	return b.String()
}

// fishSeen is the condition that a command, and none that is named alike, is on the line.
func (w wordsOf) fishSeen(name string) string {
	const seen = "__fish_seen_subcommand_from "
	first, second, _ := strings.Cut(name, " ")
	if second != "" {
		return seen + first + "; and " + seen + second
	}
	s := seen + name
	for _, c := range w.commands {
		switch above, below, _ := strings.Cut(c.name, " "); {
		case below == "":
		case above == name:
			s += "; and not " + seen + below
		case below == name:
			s += "; and not " + seen + above
		}
	}
	return s
}

func (f flagWord) fish() string {
	s := " -l " + f.long
	if f.short != 0 {
		s += " -s " + string(f.short)
	}
	switch {
	case f.values != nil:
		s += " -x -a '" + strings.Join(f.values, " ") + "'"
	case f.takes:
		s += " -r"
	}
	return s + " -d '" + f.help + "'"
}
