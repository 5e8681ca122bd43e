package corpus

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"

	"nosa/weights"
)

// Source is one of the collections that a sampler mixes: a set or needles.
type Source struct {
	Name    string // for errors
	Set     *Set
	Needles *Needles
	Weight  float64 // share of the tokens, beside the weights of the others; 0 in all of them: by their sizes
}

// SamplerConfig is the order of everything that a Sampler serves.
type SamplerConfig struct {
	Seed    uint64
	Context int // tokens of the longest piece of a document that is served as one
	Sources []Source
}

// Batch is what a pass of training takes. Tokens and Targets are the caller's, of one length; a target is the id behind a
// token, and -1 behind the last token of a document and where there is no loss. Begins are the rows at which documents, or
// windows of them, begin, from 0, and the number of rows: no token sees another document's.
type Batch struct {
	Tokens, Targets []int32
	Begins          []int32
}

// NewBatch makes a batch of so many rows.
func NewBatch(rows int) *Batch {
	return &Batch{Tokens: make([]int32, rows), Targets: make([]int32, rows)}
}

// Sampler serves batches in an order that its config fixes. It is not safe for use by several goroutines.
type Sampler struct {
	context int
	order   string
	names   []string // of lanes
	lanes   []lane
	weights []float64
	served  []uint64
}

// Position is how far a lane is: for windows the epoch, the place in it, and the tokens of it that have been served; for
// needles the number of sequences in Index.
type Position struct {
	Epoch  uint64 `json:"epoch,omitempty"`
	Index  uint64 `json:"index"`
	Offset uint64 `json:"offset,omitempty"`
	Served uint64 `json:"served"` // tokens in all
}

// State is where a sampler is: with it, one of the same config goes on as if it had never stopped.
type State struct {
	Order string     `json:"order"` // stands for seed, context, and the sources' weights and bytes
	Lanes []Position `json:"lanes"`
}

// NewSampler begins at the beginning. The sets stay the caller's, to be closed when the sampler is not used any more.
func NewSampler(c SamplerConfig) (*Sampler, error) {
	if c.Context < 1 || c.Context > math.MaxInt32 {
		return nil, fmt.Errorf("a context of %d tokens: %w", c.Context, ErrConfig)
	}
	shares, err := c.shares()
	if err != nil {
		return nil, err
	}
	s := &Sampler{context: c.Context}
	h := sha256.New()
	note := json.NewEncoder(h)
	if err := note.Encode([]any{c.Seed, c.Context, len(c.Sources)}); err != nil {
		return nil, err
	}
	for i, src := range c.Sources {
		seed := derive(c.Seed, uint64(i))
		if src.Needles != nil {
			if err := note.Encode([]any{src.Needles.digest(), shares[i]}); err != nil {
				return nil, err
			}
			s.add(src.Name, &needleLane{needles: src.Needles, seed: seed}, shares[i])
			continue
		}
		if err := note.Encode([]any{hexDigest(src.Set.Digest()), shares[i]}); err != nil {
			return nil, err
		}
		var lanes []*spanLane
		var tokens []uint64
		err := weights.Guard(func() (err error) {
			lanes, tokens, err = lanesOf(src.Set, uint64(c.Context), seed)
			return err
		})
		if err != nil {
			return nil, err
		}
		for k, l := range lanes {
			s.add(src.Name, l, shares[i]*float64(tokens[k])/float64(src.Set.Tokens()))
		}
	}
	s.order = hexDigest([sha256.Size]byte(h.Sum(nil)))
	return s, nil
}

func (s *Sampler) add(name string, l lane, weight float64) {
	s.names, s.lanes, s.weights = append(s.names, name), append(s.lanes, l), append(s.weights, weight)
	s.served = append(s.served, 0)
}

// shares are the weights of the sources, checked.
func (c SamplerConfig) shares() ([]float64, error) {
	if len(c.Sources) == 0 {
		return nil, fmt.Errorf("no sources: %w", ErrConfig)
	}
	shares := make([]float64, len(c.Sources))
	given := 0
	for i, src := range c.Sources {
		switch {
		case (src.Set == nil) == (src.Needles == nil):
			return nil, fmt.Errorf("source %q: want either a set or needles: %w", src.Name, ErrConfig)
		case !(src.Weight >= 0) || math.IsInf(src.Weight, 0):
			return nil, fmt.Errorf("source %q: weight %v: %w", src.Name, src.Weight, ErrConfig)
		case src.Weight > 0:
			given++
			shares[i] = src.Weight
		case src.Needles != nil:
			return nil, fmt.Errorf("source %q: needles have no size, give a weight: %w", src.Name, ErrConfig)
		default:
			shares[i] = float64(src.Set.Tokens())
		}
	}
	if given > 0 && given < len(c.Sources) {
		return nil, fmt.Errorf("%d of %d sources have a weight: give all of them one, or none: %w", given, len(c.Sources), ErrConfig)
	}
	return shares, nil
}

// Next fills a batch. Each sequence, the context's length of it, is of one lane: the one that is furthest behind its weight,
// so that after any number of tokens each has had its share within a sequence or two.
func (s *Sampler) Next(b *Batch) error {
	if len(b.Tokens) == 0 || len(b.Tokens) != len(b.Targets) || len(b.Tokens) > math.MaxInt32 {
		return fmt.Errorf("a batch of %d tokens and %d targets: %w", len(b.Tokens), len(b.Targets), ErrConfig)
	}
	b.Begins = b.Begins[:0]
	return weights.Guard(func() error {
		for at := 0; at < len(b.Tokens); at += s.context {
			end := min(at+s.context, len(b.Tokens))
			l := s.pick()
			err := s.lanes[l].fill(b.Tokens[at:end], b.Targets[at:end], func(row int) { b.Begins = append(b.Begins, int32(at+row)) })
			if err != nil {
				return fmt.Errorf("source %q: %w", s.names[l], err)
			}
			s.served[l] += uint64(end - at)
		}
		b.Begins = append(b.Begins, int32(len(b.Tokens)))
		return nil
	})
}

// pick returns the lane that is furthest behind, the first of equals.
func (s *Sampler) pick() int {
	best := 0
	for i := range s.lanes {
		if float64(s.served[i])/s.weights[i] < float64(s.served[best])/s.weights[best] {
			best = i
		}
	}
	return best
}

// State is where the next batch begins.
func (s *Sampler) State() State {
	st := State{Order: s.order}
	for i, l := range s.lanes {
		p := l.position()
		p.Served = s.served[i]
		st.Lanes = append(st.Lanes, p)
	}
	return st
}

// Restore goes to where a sampler of the same config was. After an error the sampler is not to be used.
func (s *Sampler) Restore(st State) error {
	if st.Order != s.order || len(st.Lanes) != len(s.lanes) {
		return fmt.Errorf("it is of another seed, context, weights or texts: %w", ErrState)
	}
	return weights.Guard(func() error {
		for i, p := range st.Lanes {
			if err := s.lanes[i].moveTo(p); err != nil {
				return fmt.Errorf("source %q: %w", s.names[i], err)
			}
			s.served[i] = p.Served
		}
		return nil
	})
}
