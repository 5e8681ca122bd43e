package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Option is a switch of a method.
type Option struct {
	Key     string
	Default string
	Accepts string // what values it takes, for people
	About   string

	check func(value string) bool
}

// Number is an option that takes a whole number.
func Number(key string, def, least, most int, about string) Option {
	return Option{Key: key, Default: strconv.Itoa(def), Accepts: fmt.Sprintf("a number from %d to %d", least, most), About: about, check: func(v string) bool {
		n, err := strconv.Atoi(v)
		return err == nil && n >= least && n <= most
	}}
}

// Fraction is an option that takes a number within bounds.
func Fraction(key string, def, least, most float64, about string) Option {
	return Option{Key: key, Default: formatFloat(def), Accepts: fmt.Sprintf("a number from %v to %v", least, most), About: about, check: func(v string) bool {
		x, err := strconv.ParseFloat(v, 64)
		return err == nil && x >= least && x <= most // and so a number
	}}
}

// Choice is an option that takes one of several words.
func Choice(key, def, about string, words ...string) Option {
	return Option{Key: key, Default: def, Accepts: strings.Join(words, ", "), About: about, check: func(v string) bool { return slices.Contains(words, v) }}
}

// Amount is an option that takes a number of tokens, or a share of the prompt in percent.
func Amount(key, def, about string) Option {
	return Option{Key: key, Default: def, Accepts: "tokens from 1 on, or a share of the prompt as 25%", About: about, check: func(v string) bool {
		_, ok := parseAmount(v)
		return ok
	}}
}

// noFile is the value of a File that is not given.
const noFile = "none"

// File is an option that takes the name of a file, without a comma in it.
func File(key, about string) Option {
	return Option{Key: key, Default: noFile, Accepts: "the name of a file, or none", About: about, check: func(v string) bool { return v != "" }}
}

// mostTokens bounds options that count tokens.
const mostTokens = 1 << 28

// amount is a number of tokens, or, if tokens is 0, a share.
type amount struct {
	tokens int
	share  float64
}

func parseAmount(v string) (amount, bool) {
	if p, ok := strings.CutSuffix(v, "%"); ok {
		x, err := strconv.ParseFloat(p, 64)
		return amount{share: x / 100}, err == nil && x > 0 && x <= 100
	}
	n, err := strconv.Atoi(v)
	return amount{tokens: n}, err == nil && n >= 1 && n <= mostTokens
}

// of is the amount for a text of n tokens. A share is rounded down, after what float64
// may have lost of it.
func (a amount) of(n int) int {
	if a.tokens > 0 {
		return a.tokens
	}
	return int(math.Floor(a.share*float64(n) + 1e-9))
}

func formatFloat(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// Values are the options of a method, each with a value that it takes.
type Values map[string]string

// Int is the value of a Number.
func (v Values) Int(key string) int {
	n, _ := strconv.Atoi(v[key]) // has been checked
	return n
}

// Float is the value of a Fraction.
func (v Values) Float(key string) float64 {
	x, _ := strconv.ParseFloat(v[key], 64)
	return x
}

// Amount is the value of an Amount for a prompt of n tokens.
func (v Values) Amount(key string, n int) int {
	a, _ := parseAmount(v[key])
	return a.of(n)
}

// Spec is a method with a value for each of its options.
type Spec struct {
	Method Method
	Values Values
}

// Parse reads NAME[:key=value,…]. The empty string and none are no policy: the Spec's
// Method is nil.
func Parse(s string) (Spec, error) {
	if s == "" || s == "none" {
		return Spec{}, nil
	}
	name, rest, given := strings.Cut(s, ":")
	m, err := ByName(name)
	if err != nil {
		return Spec{}, err
	}
	p := Spec{Method: m, Values: Values{}}
	options := m.Options()
	for _, o := range options {
		p.Values[o.Key] = o.Default
	}
	if !given {
		return p, nil
	}
	set := map[string]bool{}
	for _, field := range strings.Split(rest, ",") {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return Spec{}, fmt.Errorf("%w: --policy %s: %q is not key=value", ErrPolicy, s, field)
		}
		at := slices.IndexFunc(options, func(o Option) bool { return o.Key == key })
		switch {
		case at < 0:
			return Spec{}, fmt.Errorf("%w: --policy %s: %s has no option %q: it has %s", ErrPolicy, s, name, key, strings.Join(keys(options), ", "))
		case set[key]:
			return Spec{}, fmt.Errorf("%w: --policy %s: %s is given twice", ErrPolicy, s, key)
		case !options[at].check(value):
			return Spec{}, fmt.Errorf("%w: --policy %s: %s=%s: want %s", ErrPolicy, s, key, value, options[at].Accepts)
		}
		set[key], p.Values[key] = true, value
	}
	return p, nil
}

func keys(options []Option) []string {
	names := make([]string, len(options))
	for i, o := range options {
		names[i] = o.Key
	}
	return names
}

// String names the method with all of its options, as Parse reads it: two caches whose
// specs differ in it must not share a block.
func (p Spec) String() string {
	if p.Method == nil {
		return "none"
	}
	var b strings.Builder
	b.WriteString(p.Method.Name())
	for i, key := range keys(p.Method.Options()) {
		b.WriteByte(":,"[min(i, 1)])
		b.WriteString(key + "=" + p.Values[key])
	}
	return b.String()
}
