package eval

import (
	"context"
	"fmt"
	"math"
)

// Loss is what a window of the book cost, in nats.
type Loss struct {
	NLL       float64        `json:"nll"`
	Tokens    int            `json:"tokens"`
	Positions []PositionLoss `json:"positions"`

	// Of the whole book, whose perplexity by words and bytes follows when all windows are there.
	Windows int `json:"windows"`
	Words   int `json:"words"`
	Bytes   int `json:"bytes"`
}

// PositionLoss is the part of targets whose row, the one that predicts them, is at Begin to End-1.
type PositionLoss struct {
	Begin int     `json:"begin"`
	End   int     `json:"end"`
	NLL   float64 `json:"nll"`
	Count int     `json:"count"`
}

// firstPositions is where the first part ends; each one after it ends twice as far.
const firstPositions = 64

// perplexity reads the book in the windows of lm-eval's rolling log-likelihood: each token is predicted once; a window of length
// tokens begins with the token before it (the first one with the token that begins or ends a text), and predicts the others. The
// last window is filled up with tokens from before it, which are read and not predicted.
type perplexity struct {
	*opened
	length int
	begin  int32
	words  int
	bytes  int
}

func openPerplexity(ctx context.Context, c *Config, s Setting, length int) (session, error) {
	if length < 2 {
		return nil, fmt.Errorf("a window of %d tokens predicts nothing: %w", length, ErrTask)
	}
	if s.Policy != "" { // a prompt is read as without it
		return nil, errNoMore
	}
	o, err := openEngine(ctx, c, s, length, nil)
	if err != nil {
		return nil, err
	}
	p := &perplexity{opened: o, length: length, words: wordCount(c.Book), bytes: len(c.Book)}
	var ok bool
	if p.begin, ok = o.engine.Tokenizer.BOS(); !ok {
		if ends := o.engine.Tokenizer.EOS(); len(ends) > 0 {
			p.begin = ends[0]
		}
	}
	return p, nil
}

// wordCount is lm-eval's: one more than there are runs of blanks.
func wordCount(text string) int {
	words, blank := 1, false
	for _, r := range text {
		if b := pythonSpace(r); b != blank {
			blank = b
			if b {
				words++
			}
		}
	}
	return words
}

// window is what is read, of which tokens from position from on are predicted. predicts is how many tokens a whole window predicts.
func window(book []int32, begin int32, index, predicts int) (ids []int32, from int) {
	first, end := index*predicts, min((index+1)*predicts, len(book))
	if first >= end {
		return nil, 0
	}
	if first == 0 {
		return append([]int32{begin}, book[:end]...), 1
	}
	before := max(end-predicts-1, 0)
	return book[before:end], first - before
}

func (p *perplexity) sample(ctx context.Context, index int, r *Record) error {
	ids, from := window(p.book, p.begin, index, p.length-1)
	if ids == nil {
		return errNoMore
	}
	got, err := p.engine.Score(ctx, ids, nil)
	if err != nil {
		return err
	}
	l := &Loss{Windows: (len(p.book) + p.length - 2) / (p.length - 1), Words: p.words, Bytes: p.bytes}
	l.Add(got.LogProbs, from)
	r.Loss, r.PromptTokens = l, len(ids)
	r.KVBytes, r.KVFullBytes = held(p.engine, got.Stats.Live, len(ids))
	return nil
}

// Add takes the log-probabilities of a text's tokens, from position from on.
func (l *Loss) Add(logProbs []float64, from int) {
	for at := from; at < len(logProbs); at++ {
		part := 0
		for end := firstPositions; at-1 >= end; end *= 2 {
			part++
		}
		for len(l.Positions) <= part {
			begin := 0
			if n := len(l.Positions); n > 0 {
				begin = l.Positions[n-1].End
			}
			l.Positions = append(l.Positions, PositionLoss{Begin: begin, End: max(2*begin, firstPositions)})
		}
		l.Positions[part].NLL -= logProbs[at]
		l.Positions[part].Count++
		l.NLL -= logProbs[at]
		l.Tokens++
	}
}

// Perplexity is what the windows of a book come to.
type Perplexity struct {
	Tokens     int            `json:"tokens"`
	Perplexity float64        `json:"perplexity"` // by token
	Positions  []PositionLoss `json:"positions"`
	// As lm-eval says them, where all windows are there.
	Word *float64 `json:"word_perplexity,omitempty"`
	Byte *float64 `json:"byte_perplexity,omitempty"`
	Bits *float64 `json:"bits_per_byte,omitempty"`
}

// perplexityOf adds windows up.
func perplexityOf(windows []*Loss) *Perplexity {
	p, nll := &Perplexity{}, 0.0
	for _, w := range windows {
		nll += w.NLL
		p.Tokens += w.Tokens
		for i, q := range w.Positions {
			if i == len(p.Positions) {
				p.Positions = append(p.Positions, PositionLoss{Begin: q.Begin, End: q.End})
			}
			p.Positions[i].NLL += q.NLL
			p.Positions[i].Count += q.Count
		}
	}
	p.Perplexity = math.Exp(nll / float64(max(p.Tokens, 1)))
	if len(windows) > 0 && len(windows) == windows[0].Windows {
		of := func(v float64) *float64 { return &v }
		p.Word, p.Byte = of(math.Exp(nll/float64(windows[0].Words))), of(math.Exp(nll/float64(windows[0].Bytes)))
		p.Bits = of(nll / float64(windows[0].Bytes) / math.Ln2)
	}
	return p
}
