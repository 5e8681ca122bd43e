package policy

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// TCA: of each stretch of text every head keeps a share of its own, most where it needs most.
//
// Paper: You, Chen, Zhang, Qiu, Wu, Li, Wang, Tan, "Training-free Context-adaptive Attention for
// Efficient Long Context Modeling", arXiv 2512.09238. How it measures need on line and how it
// chooses a head's configuration were not to be read; what stands here for them is ours.
//
// Text behind the first tokens is cut into events of some blocks. When an event and local tokens
// after it are in the cache, the newest queries judge it: a block needs the more tokens the more
// weight it has and the flatter that is. Blocks are sorted by need and given 1, 2, 4, … or all of
// their tokens, so many blocks each as the head's configuration says, and keep their tokens of
// largest weight. In prompts and in decode alike; with select=end the prompt is attended to as a
// whole and its events are judged by its last queries.
//
// A configuration is a bell over the logarithm of these counts, with a centre (mu) and a width
// (sigma). A profile has one for each head, made once for a model; without one all heads have that
// of mu and sigma.
//
// Holds of each event as many tokens as the configuration says, whatever the text, beside the first
// tokens and those of events to come. Costs a walk of the newest queries over a head's keys in
// each layer for each event.
type tca struct{}

func (tca) Name() string { return "tca" }
func (tca) About() string {
	return "of each stretch of text the tokens that it needs, a share by head, in prompt and decode"
}
func (tca) Paper() string { return "arXiv 2512.09238" }

func (tca) Options() []Option {
	return []Option{
		File("profile", "a file with what each head keeps, which overrules all but select"),
		Fraction("mu", 4.5, 0, 30, "centre of the tokens that blocks keep, as a power of two"),
		Fraction("sigma", 2, .01, 100, "width of it"),
		Number("event", 16, 1, 4096, "blocks that are judged together"),
		Number("sink", 64, 0, mostTokens, "first tokens, which stay"),
		Number("local", 256, 1, mostTokens, "tokens after an event before it is judged"),
		Number("rows", 64, 1, 4096, "newest queries that judge; no more than local"),
		Choice("select", "stream", "when the prompt's events are judged: as it is read, or at its end", "stream", "end"),
	}
}

func (tca) New(v Values, s Shape) (Policy, error) {
	if bits.OnesCount(uint(s.Block)) != 1 {
		return nil, fmt.Errorf("%w: tca: blocks of %d tokens: want a power of two", ErrPolicy, s.Block)
	}
	p := tcaPolicy{profile: tcaProfile{Block: s.Block, Event: v.Int("event"), Sink: v.Int("sink"), Local: v.Int("local"), Rows: v.Int("rows")}, s: s, end: v["select"] == "end"}
	if name := v["profile"]; name != noFile {
		profile, err := readTCA(name)
		if err == nil {
			err = profile.fits(s)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: tca: %s: %w", ErrPolicy, name, err)
		}
		p.profile = profile
		return p, nil
	}
	if p.profile.Rows > p.profile.Local {
		return nil, fmt.Errorf("%w: tca: rows=%d is more than local=%d: queries of an event would judge it", ErrPolicy, p.profile.Rows, p.profile.Local)
	}
	all := tcaHead{Mu: v.Float("mu"), Sigma: v.Float("sigma")}
	all.Counts = tcaCounts(all.Mu, all.Sigma, p.profile.Event, s.Block)
	for range s.Layers {
		p.profile.Heads = append(p.profile.Heads, slices.Repeat([]tcaHead{all}, s.KVHeads))
	}
	return p, nil
}

// tcaCounts is how many of an event's blocks keep 1, 2, 4, … and all of their tokens.
func tcaCounts(mu, sigma float64, event, block int) []int {
	share := make([]float64, bits.Len(uint(block)))
	off := func(x int) float64 { return (float64(x) - mu) * (float64(x) - mu) }
	nearest := min(max(int(math.Round(mu)), 0), len(share)-1) // whose share is set to 1 before all are scaled: none is lost to 0
	var sum float64
	for x := range share {
		share[x] = math.Exp((off(nearest) - off(x)) / (2 * sigma * sigma))
		sum += share[x]
	}
	counts, left := make([]int, len(share)), event
	rest := make([]float64, len(share)) // from the largest number of tokens down: it wins ties
	for x := range share {
		share[x] *= float64(event) / sum
		counts[x] = int(math.Floor(share[x] + 1e-9))
		left -= counts[x]
		rest[len(rest)-1-x] = math.Round((share[x]-float64(counts[x]))*1e9) / 1e9
	}
	for _, i := range top(rest, left) {
		counts[len(counts)-1-i]++
	}
	return counts
}

type tcaPolicy struct {
	profile tcaProfile
	s       Shape
	end     bool
}

func (p tcaPolicy) Needs() Needs { return Needs{Window: p.profile.Rows} }

func (p tcaPolicy) Begin(r Request) (State, error) {
	return &tcaState{tcaProfile: p.profile, prompt: len(r.Prompt), end: p.end}, nil
}

type tcaState struct {
	tcaProfile
	prompt int
	end    bool
}

// size is an event's tokens, and due the length at which event e is judged.
func (s *tcaState) size() int     { return s.Event * s.Block }
func (s *tcaState) due(e int) int { return s.Sink + s.size()*(e+1) + s.Local }

// dueBy is how many events are judged at a length or before it.
func (s *tcaState) dueBy(tokens int) int { return max(0, tokens-s.Sink-s.Local) / s.size() }

func (s *tcaState) Next(tokens int) int {
	if s.end && tokens < s.prompt {
		return s.prompt
	}
	return s.due(s.dueBy(tokens))
}

func (s *tcaState) Compress(ctx context.Context, l Layer) error {
	tokens := l.Tokens()
	last := s.dueBy(tokens)
	first := last - 1
	if s.end && tokens == s.prompt {
		first = 0
	}
	if first >= last || first < 0 {
		return nil
	}
	for h := range l.Shape().KVHeads {
		n := len(l.Cells(h))
		w, err := l.Weights(ctx, h, s.Rows)
		if err != nil {
			return err
		}
		// The cells of events that have not been judged are the text's last tokens.
		from := n - (tokens - s.Sink - first*s.size())
		keep := upTo(nil, 0, from)
		for e := first; e < last; e++ {
			weights := make([]float64, s.size())
			for row := 0; row < len(w); row += n {
				for j := range weights {
					weights[j] += float64(w[row+from+j])
				}
			}
			for _, j := range s.judge(weights, s.Heads[l.Index()][h].Counts) {
				keep = append(keep, from+j)
			}
			from += s.size()
		}
		if err := l.Keep(ctx, h, upTo(keep, from, n)); err != nil {
			return err
		}
	}
	return nil
}

// judge lists the tokens of an event that stay, by their weights.
func (s *tcaState) judge(weights []float64, counts []int) []int {
	need := make([]float64, s.Event) // of how many tokens, but for a factor
	order := upTo(nil, 0, s.Event)
	for b := range need {
		var sum, squares float64
		for _, x := range weights[b*s.Block : (b+1)*s.Block] {
			sum += x
			squares += x * x
		}
		if squares > 0 {
			need[b] = sum * sum / squares * sum
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(need[a], need[b]) })
	var keep []int
	for x, blocks := range counts {
		for _, b := range order[:blocks] {
			for _, j := range top(weights[b*s.Block:(b+1)*s.Block], 1<<x) {
				keep = append(keep, b*s.Block+j)
			}
		}
		order = order[blocks:]
	}
	slices.Sort(keep)
	return keep
}
