package main

import (
	"context"
	"fmt"
	"slices"

	"nosa/engine"
	"nosa/tokenizer"
	"nosa/train/corpus"
)

// mostMissed is how many wrong answers a result shows.
const mostMissed = 10

// retrieve asks for needles in held-out texts, of keys that training never has, and counts answers all of whose digits are right.
// The questions of one document are asked each by itself, behind the same text, whose cache they share.
func (m *measurement) retrieve(ctx context.Context, r *result) (did bool, err error) {
	s := m.needles
	if same(r.Needles != nil, func() needleSettings { return r.Needles.needleSettings }, s) {
		return false, nil
	}
	needles, err := corpus.NewNeedles(corpus.NeedleConfig{
		Vocabulary: m.vocabulary, Filler: m.texts, Seed: s.Seed, HeldOut: true, Keys: s.Questions, Questions: s.Questions, Digits: s.Digits,
	})
	if err != nil {
		return false, err
	}
	n := &needlesResult{needleSettings: s}
	o := m.options(r.Method)
	o.Retain = true
	err = m.with(r, m.device, o, func(e *engine.Engine) error {
		for doc := uint64(0); ; doc++ {
			d, err := needles.Document(doc, s.Length)
			if err != nil {
				return err
			}
			for i := range d.Answers {
				if int(doc)*s.Questions+i == s.Samples {
					return nil
				}
				if err := m.ask(ctx, e, n, d, i); err != nil {
					return err
				}
			}
		}
	})
	if err != nil {
		return false, err
	}
	n.Share = float64(n.Right) / float64(s.Samples)
	r.Needles = n
	return true, nil
}

// ask asks a document's question i.
func (m *measurement) ask(ctx context.Context, e *engine.Engine, n *needlesResult, d *corpus.NeedleDocument, i int) error {
	if len(d.Answers) < n.Questions {
		return fmt.Errorf("a document of %d tokens has no room for %d questions", n.Length, n.Questions)
	}
	question := func(a corpus.NeedleAnswer) []int32 {
		return m.vocabulary.Encode(nil, "\nWhat is the number of "+a.Key+"? The number of "+a.Key+" is", tokenizer.EncodeOptions{})
	}
	text := d.Answers[0].Row - len(question(d.Answers[0])) // tokens before the first question
	a := d.Answers[i]
	ask := question(a)
	if !slices.Equal(d.Tokens[a.Row-len(ask):a.Row], ask) {
		return fmt.Errorf("question %q is not what the document has", a.Key)
	}
	prompt := slices.Concat(d.Tokens[:text], ask)
	out, err := e.Generate(ctx, engine.Request{IDs: prompt, MaxTokens: len(a.Tokens), IgnoreEnd: true, Continues: true})
	if err != nil {
		return err
	}
	depth := &n.ByDepth[min(10*a.Needle/len(prompt), 9)]
	depth.Of++
	switch {
	case slices.Equal(out.Tokens, a.Tokens):
		depth.Right++
		n.Right++
	case len(n.Missed) < mostMissed:
		n.Missed = append(n.Missed, [2]string{a.Value, out.Text})
	}
	return nil
}
