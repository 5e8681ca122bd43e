package policy

import (
	"context"
	"math"
	"slices"
	"unicode"
)

// FastGen: each head keeps no more than it has been seen to look at.
//
// Paper: Ge, Zhang, Liu, Zhang, Han, Gao, "Model Tells You What to Discard: Adaptive KV Cache
// Compression for LLMs", arXiv 2310.01801.
//
// Profiles each KV head on the prompt and gives it the first of five rules that would have
// kept enough of its attention weights: special tokens; punctuation too; and the tokens most
// attended to; and the newest ones; or all. The rule is the head's for the whole generation:
// after each token it drops for good what the rule does not name. A head's profile is the mean
// over the query heads that share it, over all queries of the prompt.
//
// Holds by head what its rule names: how much is not known before. Costs the weights of every
// query over the whole cache, in the prompt too: attention twice over.
type fastgen struct{}

func (fastgen) Name() string { return "fastgen" }
func (fastgen) About() string {
	return "each head keeps the kinds of tokens that the prompt shows it to look at"
}
func (fastgen) Paper() string { return "arXiv 2310.01801" }

func (fastgen) Options() []Option {
	return []Option{
		Fraction("recover", .95, 0, 1, "share of a head's weights that its rule must have kept"),
		Fraction("local", .3, 0, 1, "newest tokens that a rule may keep, in tokens of the prompt"),
		Fraction("frequent", .3, 0, 1, "tokens most attended to that a rule may keep, in tokens of the text so far"),
		Number("sinks", 0, 0, mostTokens, "first tokens that every rule keeps; the paper has none"),
	}
}

func (fastgen) New(v Values, s Shape) (Policy, error) { return fastgenPolicy{v, s}, nil }

type fastgenPolicy struct {
	v Values
	s Shape
}

func (p fastgenPolicy) Needs() Needs { return Needs{Sums: true} }

func (p fastgenPolicy) Begin(r Request) (State, error) {
	n := len(r.Prompt)
	return &fastgenState{
		prompt: n, recover: p.v.Float("recover"), frequent: p.v.Float("frequent"), sinks: p.v.Int("sinks"),
		local: amount{share: p.v.Float("local")}.of(n), request: r, kinds: map[int32]kind{},
		heads: make([]fastgenHead, p.s.Layers*p.s.KVHeads),
	}, nil
}

// rule is what a head keeps: each keeps what those before it do.
type rule int

const (
	keepSpecial rule = iota
	keepPunctuation
	keepFrequent
	keepLocal
	keepAll
)

// kind is what a token is for the rules.
type kind int

const (
	ordinary kind = iota
	special
	punctuation
)

type fastgenHead struct {
	rule  rule
	local []float64 // by token of the prompt: the weights of the queries to which it was local
}

type fastgenState struct {
	prompt, local, sinks int
	recover, frequent    float64
	request              Request
	kinds                map[int32]kind
	heads                []fastgenHead // by layer and KV head
}

func (s *fastgenState) Next(tokens int) int { return always(s.prompt, tokens) }

func (s *fastgenState) Bytes() int64 {
	var n int64
	for _, h := range s.heads {
		n += 8 * int64(cap(h.local))
	}
	return n
}

func (s *fastgenState) head(l Layer, h int) *fastgenHead {
	return &s.heads[l.Index()*l.Shape().KVHeads+h]
}

// Watch adds up what the local rule would have kept: the others are told by Layer.Sums.
func (s *fastgenState) Watch(l Layer, h, pos int, weights []float32) {
	if pos >= s.prompt {
		return
	}
	head := s.head(l, h)
	if head.local == nil {
		head.local = make([]float64, s.prompt)
	}
	for at := 0; at < len(weights); at += pos + 1 {
		for j := max(0, pos-s.local+1); j <= pos; j++ {
			head.local[j] += float64(weights[at+j])
		}
	}
}

func (s *fastgenState) Compress(ctx context.Context, l Layer) error {
	for h := range l.Shape().KVHeads {
		cells, sums, head := l.Cells(h), l.Sums(h), s.head(l, h)
		if l.Tokens() == s.prompt {
			head.rule = s.choose(l, h)
			head.local = nil
		}
		if head.rule == keepAll {
			continue
		}
		keep := s.kept(l, cells, sums, head.rule)
		if err := l.Keep(ctx, h, keep); err != nil {
			return err
		}
	}
	return nil
}

// choose is the first rule that keeps enough of a head's weights over the whole prompt.
func (s *fastgenState) choose(l Layer, h int) rule {
	sums, local := l.Sums(h), s.head(l, h).local
	enough := s.recover * float64(s.prompt*l.Shape().Group()) // each query's weights add up to 1
	named := make([]bool, s.prompt)
	for r := keepSpecial; r < keepAll; r++ {
		s.name(l, l.Cells(h), sums, r, named)
		var kept float64
		for i, yes := range named {
			switch {
			case yes:
				kept += sums[i]
			case r == keepLocal:
				kept += local[i]
			}
		}
		if kept >= enough {
			return r
		}
	}
	return keepAll
}

// kept lists the cells that a rule keeps of a head.
func (s *fastgenState) kept(l Layer, cells []Cell, sums []float64, r rule) []int {
	named := make([]bool, len(cells))
	s.name(l, cells, sums, r, named)
	if r == keepLocal {
		for i, c := range cells {
			named[i] = named[i] || l.Tokens()-int(c.Pos) <= s.local
		}
	}
	var keep []int
	for i, yes := range named {
		if yes {
			keep = append(keep, i)
		}
	}
	return keep
}

// name sets what a rule keeps of some cells, but for the newest ones.
func (s *fastgenState) name(l Layer, cells []Cell, sums []float64, r rule, named []bool) {
	for i, c := range cells {
		k := s.kind(l.Token(int(c.Pos)))
		named[i] = int(c.Pos) < s.sinks || k == special || k == punctuation && r >= keepPunctuation
	}
	if r < keepFrequent {
		return
	}
	n := int(math.Ceil(s.frequent*float64(l.Tokens()) - 1e-9))
	for _, i := range top(sums, n) {
		named[i] = true
	}
}

// kind says what a token is. Punctuation is made of signs and blanks alone.
func (s *fastgenState) kind(id int32) kind {
	k, ok := s.kinds[id]
	if ok {
		return k
	}
	if s.request.Special(id) {
		k = special
	} else if runes := []rune(s.request.Text(id)); slices.ContainsFunc(runes, isSign) &&
		!slices.ContainsFunc(runes, func(c rune) bool { return !isSign(c) && !unicode.IsSpace(c) }) {
		k = punctuation
	}
	s.kinds[id] = k
	return k
}

func isSign(c rune) bool { return unicode.IsPunct(c) || c < unicode.MaxASCII && unicode.IsSymbol(c) }
