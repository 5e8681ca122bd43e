package chat

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// bombs are templates that ask for more than any computer has.
var bombs = map[string]string{
	"nested ranges":           `{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}`,
	"a long range":            `{{ range(1000000000)|length }}`,
	"ranges in a list":        `{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = ns.x + range(99999)|list %}{% endfor %}`,
	"repeated text":           `{{ 'a' * 10**9 }}`,
	"repeated text, unused":   `{% set x = 'a' * 10**9 %}`,
	"repeated list":           `{% set x = [1] * 10**9 %}`,
	"repeated far too often":  `{{ 'a' * 10**30 }}`,
	"doubled text":            `{% set ns = namespace(x='ab') %}{% for i in range(64) %}{% set ns.x = ns.x + ns.x %}{% endfor %}`,
	"doubled by tilde":        `{% set ns = namespace(x='ab') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}`,
	"doubled list":            `{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = ns.x + ns.x %}{% endfor %}`,
	"doubled by replace":      `{% set ns = namespace(x='aa') %}{% for i in range(64) %}{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}`,
	"doubled by join":         `{% set ns = namespace(x='aa') %}{% for i in range(64) %}{% set ns.x = ns.x.join(ns.x) %}{% endfor %}`,
	"doubled by format":       `{% set ns = namespace(x='aa') %}{% for i in range(64) %}{% set ns.x = '%s%s' % (ns.x, ns.x) %}{% endfor %}`,
	"doubled by str.format":   `{% set ns = namespace(x='aa') %}{% for i in range(64) %}{% set ns.x = '{0}{0}'.format(ns.x) %}{% endfor %}`,
	"doubled by set blocks":   `{% set ns = namespace(x='aa') %}{% for i in range(64) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}`,
	"doubled by repr":         `{% set ns = namespace(x='\\') %}{% for i in range(64) %}{% set ns.x = [ns.x]|string %}{% endfor %}`,
	"doubled by indent":       `{% set ns = namespace(x='\n\n') %}{% for i in range(64) %}{% set ns.x = ns.x|indent(999, true, true) ~ ns.x %}{% endfor %}`,
	"a macro that calls":      `{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}`,
	"a macro that calls two":  `{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}`,
	"a macro that grows":      `{% macro m(n) %}x{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}`,
	"a caller that calls":     `{% macro m() %}{{ caller() }}{% endmacro %}{% macro n() %}{% call m() %}{{ n() }}{% endcall %}{% endmacro %}{{ n() }}`,
	"a loop that calls":       `{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}`,
	"shared lists, printed":   `{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}`,
	"shared lists, as JSON":   `{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}`,
	"shared lists, compared":  `{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}`,
	"shared tuples, hashed":   `{% set ns = namespace(x=(1,)) %}{% for i in range(64) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}`,
	"shared lists, ordered":   `{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x < ns.y }}`,
	"deep lists":              `{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}`,
	"deep filters":            `{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = ns.x|map('string') %}{% endfor %}{{ ns.x|list }}`,
	"a large power":           `{{ 10 ** (10 ** 10) }}`,
	"a growing product":       `{% set ns = namespace(x=3) %}{% for i in range(999) %}{% set ns.x = ns.x * ns.x %}{% endfor %}`,
	"a large width":           `{{ 'a'.center(10**12) }}`,
	"a width in a format":     `{{ '%1000000000000d' % 1 }}`,
	"a precision in a format": `{{ '%.1000000000d' % 1 }}`,
	"a float's precision":     `{{ '%.1000000000f' % 1.5 }}`,
	"a width by argument":     `{{ '%*d' % (10**12, 1) }}`,
	"a width in str.format":   `{{ '{:>1000000000}'.format(1) }}`,
	"a large zfill":           `{{ '1'.zfill(10**12) }}`,
	"a large indent":          `{{ 'a\nb'|indent(10**12) }}`,
	"a large JSON indent":     `{{ [1]|tojson(indent=10**12) }}`,
	"a deep JSON indent":      `{% set ns = namespace(x=[]) %}{% for i in range(190) %}{% set ns.x = [ns.x] * 9 %}{% endfor %}{{ ns.x|tojson(indent=99999) }}`,
	"wide tabs":               `{{ ('\t' * 9999).expandtabs(10**9) }}`,
	"a large batch":           `{{ [1]|batch(10**12, 0)|list }}`,
	"a large slice":           `{{ [1]|slice(10**12, 0)|list }}`,
	"kept pieces":             `{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x, ('a' * 999999)[:9999]] %}{% endfor %}`,
	"kept macros":             `{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set big = 'a' * 99999 %}{% macro m() %}{{ big }}{% endmacro %}{% set ns.x = [ns.x, m] %}{% endfor %}`,
	"kept methods":            `{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x, ('a' * 99999).upper] %}{% endfor %}`,
	"kept generators":         `{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x, ['a' * 99999]|map('upper')] %}{% endfor %}`,
	"loops that keep":         nest(`{%% for x%d in [i, 'a' * 3999999] if x%[1]d %%}`, `{% endfor %}`, 60),
	"a list of long texts":    `{% set x = [` + strings.Repeat(`'a' * 999999,`, 5000) + `] %}`,
	"arguments of long texts": `{{ dict(` + strings.Repeat(`('a' * 999999),`, 5000) + `) }}`,
	"much output":             `{% for i in range(99999) %}{{ 'a' * 99999 }}{% endfor %}`,
	"wide namespaces":         `{% set ns = namespace() %}{% for i in range(99999) %}{% for j in range(99999) %}{% set ns.a = dict(ns.a or {}, **{'k%d' % j: j}) %}{% endfor %}{% endfor %}`,
	"sorted long texts":       `{{ (['a' * 999999 ~ 'b', 'a' * 999999 ~ 'c'] * 9999)|sort|length }}`,
	"counted long texts":      `{% set x = 'a' * 999999 %}{% for i in range(99999) %}{% if x|length %}{% endif %}{% if 'b' in x %}{% endif %}{% endfor %}`,
	"split long texts":        `{% set x = 'a ' * 999999 %}{% for i in range(99999) %}{% if x.split() %}{% endif %}{% endfor %}`,
	"tests of long texts":     `{% set x = 'a ' * 999999 %}{% for i in range(99999) %}{% if x is lower %}{% endif %}{% if x.isalpha() %}{% endif %}{% endfor %}`,
	"endless cycles":          `{% set c = cycler(1) %}{% for i in range(99999) %}{% for j in range(99999) %}{% if c.next() %}{% endif %}{% endfor %}{% endfor %}`,
	"long dates":              `{{ strftime_now('%A' * 9999999) }}`,
}

// nest writes open, with its number, and close around each other n times.
func nest(open, end string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, open, i)
	}
	return b.String() + strings.Repeat(end, n)
}

func TestBombs(t *testing.T) {
	for name, source := range bombs {
		t.Run(name, func(t *testing.T) {
			tmpl, err := Parse(source)
			if err != nil {
				t.Fatal(err)
			}
			_, err = tmpl.Render(context.Background(), Input{
				Extra:  new(Object).Set("i", "kept"),
				Limits: Limits{Steps: 2_000_000}, // a fifth of the default, to be short
			})
			if !errors.Is(err, ErrLimit) {
				t.Errorf("gave %v, want ErrLimit", err)
			}
		})
	}
}

// TestBombsMemory holds the memory in use to the estimate that limits it.
func TestBombsMemory(t *testing.T) {
	const limit = 64 << 20
	for _, name := range []string{
		"kept pieces", "kept macros", "kept methods", "kept generators", "loops that keep", "deep lists", "deep filters",
		"a list of long texts", "arguments of long texts", "ranges in a list", "much output", "doubled list", "shared tuples, hashed",
	} {
		tmpl, err := Parse(bombs[name])
		if err != nil {
			t.Fatal(err)
		}
		if used := peak(func() { _, _ = tmpl.Render(context.Background(), Input{}) }); used > limit {
			t.Errorf("%s: %d MiB were in use, want at most %d", name, used>>20, limit>>20)
		}
	}
}

// peak runs f and gives the most memory that was found in use beside it.
func peak(f func()) uint64 {
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	most := before.HeapAlloc
	for {
		select {
		case <-done:
			return most - before.HeapAlloc
		default:
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
	}
}

func TestLimitsOfParse(t *testing.T) {
	for name, source := range map[string]string{
		"bytes":          strings.Repeat("a", maxSource+1),
		"parentheses":    "{{ " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + " }}",
		"lists":          "{{ " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + " }}",
		"signs":          "{{ " + strings.Repeat("-", 5000) + "1 }}",
		"negations":      "{{ " + strings.Repeat("not ", 5000) + "1 }}",
		"choices":        "{{ 1" + strings.Repeat(" if 1 else 1", 5000) + " }}",
		"half choices":   "{{ 1" + strings.Repeat(" if 1", 5000) + " }}",
		"sums":           "{{ 1" + strings.Repeat("+1", 5000) + " }}",
		"products":       "{{ 1" + strings.Repeat("*1", 5000) + " }}",
		"powers":         "{{ 1" + strings.Repeat("**1", 5000) + " }}",
		"conditions":     "{{ 1" + strings.Repeat(" and 1", 5000) + " }}",
		"attributes":     "{{ a" + strings.Repeat(".a", 5000) + " }}",
		"calls":          "{{ a" + strings.Repeat("()", 5000) + " }}",
		"filters":        "{{ a" + strings.Repeat("|e", 5000) + " }}",
		"filter blocks":  "{% filter e" + strings.Repeat("|e", 5000) + " %}{% endfilter %}",
		"statements":     strings.Repeat("{% if 1 %}", 5000) + strings.Repeat("{% endif %}", 5000),
		"targets":        "{% for " + strings.Repeat("(", 5000) + "a" + strings.Repeat(")", 5000) + " in x %}{% endfor %}",
		"parts":          strings.Repeat("{{a}}", maxNodes),
		"parameters":     "{% macro m(" + nest("a%d,", "", 5000) + "z) %}{% endmacro %}",
		"arguments":      "{{ f(" + nest("a%d=1,", "", 5000) + ") }}",
		"names":          nest("{%% if a %%}{%% set x%d = 1 %%}{%% endif %%}", "", 20000),
		"digits":         "{{ " + strings.Repeat("9", 5000) + " }}",
		"brackets alone": "{{ " + strings.Repeat("[", 500000),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(source); !errors.Is(err, ErrLimit) {
				t.Errorf("gave %v, want ErrLimit", err)
			}
		})
	}
}

func TestLimitsAsAsked(t *testing.T) {
	for name, tc := range map[string]struct {
		source string
		limits Limits
	}{
		"steps":  {`{% for i in range(100) %}{% endfor %}`, Limits{Steps: 100}},
		"depth":  {`{{ ((((1 + 1) + 1) + 1) + 1) }}`, Limits{Depth: 4}},
		"output": {`0123456789`, Limits{Output: 9}},
		"caught": {`{% set x %}0123456789{% endset %}`, Limits{Output: 9}},
		"memory": {`{{ ('a' * 1000)|length }}`, Limits{Memory: 999}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := renderSource(tc.source, Input{Limits: tc.limits}); !errors.Is(err, ErrLimit) {
				t.Errorf("gave %v, want ErrLimit", err)
			}
			if _, err := renderSource(tc.source, Input{}); err != nil {
				t.Errorf("without a limit: %v", err)
			}
		})
	}
}

// TestLongConversation builds a long text bit by bit, which allocates far more
// than it keeps.
func TestLongConversation(t *testing.T) {
	in := Input{}
	for i := range 1500 {
		in.Messages = append(in.Messages, Message{Role: "user", Content: fmt.Sprint(i, strings.Repeat(" word", 100))})
	}
	source := `{% set ns = namespace(all='') %}{% for m in messages %}{% set ns.all = ns.all + m.content + '\n' %}{% endfor %}{{ ns.all }}`
	text, err := renderSource(source, in)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text, "\n"); n != 1500 {
		t.Errorf("found %d lines, want 1500", n)
	}
}

func TestCancel(t *testing.T) {
	tmpl, err := Parse(bombs["nested ranges"])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := errors.New("client has gone")
	in := Input{Limits: Limits{Steps: 1 << 50}, Now: nil}
	started := make(chan struct{})
	result := make(chan error)
	go func() {
		close(started)
		_, err := tmpl.Render(ctx, in)
		result <- err
	}()
	<-started
	cancel(stop)
	if err := <-result; !errors.Is(err, stop) {
		t.Errorf("gave %v, want the cause of the cancellation", err)
	}
	if _, err := tmpl.Render(ctx, in); !errors.Is(err, stop) {
		t.Errorf("on an ended context gave %v, want its cause", err)
	}
}

// TestParseMemory reads templates as large as Parse accepts.
func TestParseMemory(t *testing.T) {
	fill := func(open, unit, end string) string {
		n := min((maxSource-len(open)-len(end))/len(unit), maxNodes-3)
		return open + strings.Repeat(unit, n) + end
	}
	for name, source := range map[string]string{
		"text":       fill("", "a", ""),
		"line ends":  fill("", "\r\n", ""),
		"not UTF-8":  fill("", "\xff", ""),
		"comments":   fill("", "{##}", ""),
		"escapes":    fill("{{ '", `\n`, "' }}"),
		"strings":    fill("{{ '", "a", "' }}"),
		"names":      fill("{{ [", "a,", "] }}"),
		"numbers":    fill("{{ [", "1,", "] }}"),
		"outputs":    fill("", "{{ a }}", ""),
		"conditions": fill("{% if a %}", "{% elif a %}", "{% endif %}"),
		"set":        fill("", "{%set a=1%}", ""),
		"raw":        fill("{% raw %}", "{%", "{% endraw %}"),
	} {
		var err error
		if used := allocated(func() { _, err = Parse(source) }); used > allowed(len(source)) {
			t.Errorf("%s: %d MiB were allocated for %d KiB", name, used>>20, len(source)>>10)
		}
		if err != nil && !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
