package engine

import (
	"fmt"

	"nosa/kv"
	"nosa/model"
	"nosa/policy"
)

// policies is the policy that the options name, for the model at hand.
type policies struct {
	spec   policy.Spec
	policy policy.Policy
	shape  policy.Shape
}

// resolvePolicy makes the policy, if there is one, and the cache keep what masks tokens.
func (s *settings) resolvePolicy(c *model.Config) error {
	spec, err := policy.Parse(s.Options.Policy)
	if err != nil || spec.Method == nil {
		return err
	}
	if s.method.Keeps().Scores {
		return fmt.Errorf("%w: --policy %s with --attention %s: its importance scores enter the weights, and would have to be dropped and merged with the tokens: use --attention full or infllmv2",
			policy.ErrPolicy, spec.Method.Name(), s.method.Name())
	}
	p := &policies{spec: spec, shape: policy.Shape{
		Layers: c.Layers, Heads: c.Heads, KVHeads: c.KVHeads, Dim: c.HeadDim, Block: s.layout.Block, Type: s.layout.Type, Rope: c.Rope.Build(s.Context),
	}}
	if p.policy, err = spec.Method.New(spec.Values, p.shape); err != nil {
		return err
	}
	s.layout.Scores = true // a bias for each token, which is −∞ where it has been dropped
	s.policy = p
	return nil
}

// plan is how many ids the store needs for what is rewritten, beside those of its blocks, and
// the host's memory for what a policy knows of so many sequences.
func (p *policies) plan(plan *Plan, s *settings) (spares int, bytes int64) {
	if p == nil {
		return 0, 0
	}
	needs := p.policy.Needs()
	plan.Step += policy.ScratchBytes(needs, p.shape)
	return plan.Blocks, int64(s.Sequences) * policy.SequenceBytes(needs, p.shape, s.Context)
}

// beginPolicy makes the policy's state of a stream, and limits what the stream shares to what
// the policy need not see.
func (e *Engine) beginPolicy(o *kv.SequenceOptions, prompt []int32) (policy.State, error) {
	r := policy.Request{Prompt: prompt, Text: e.tokenText, Special: e.tokenSpecial}
	state, shared, err := e.press.State(r)
	if err != nil {
		return nil, err
	}
	o.Rewrites = true
	o.Prefix = o.Prefix[:min(len(o.Prefix), shared)]
	o.NoShare = o.NoShare || e.press.Needs.Sums
	return state, nil
}

func (e *Engine) tokenText(id int32) string {
	if e.Tokenizer == nil {
		return ""
	}
	return e.Tokenizer.Decode([]int32{id}, false)
}

func (e *Engine) tokenSpecial(id int32) bool { return e.Tokenizer != nil && e.Tokenizer.IsSpecial(id) }

// seesAll reports whether the queries of all rows are wanted, and not only of those whose logits
// are.
func (e *Engine) seesAll() bool {
	return e.set.OnSelect != nil || e.press != nil && (e.press.Needs.Sums || e.press.Needs.Window > 0)
}
