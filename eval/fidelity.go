package eval

import (
	"context"
	"errors"
	"fmt"

	"nosa/compute"
	"nosa/engine"
)

// Fidelity is how far a setting's predictions are from full attention's, over tokens that were decoded one at a time behind a
// part of the book.
type Fidelity struct {
	Tokens int     `json:"tokens"`
	KL     float64 `json:"kl"` // mean of Σ p·ln(p/q), p full attention's, in nats
	KL99   float64 `json:"kl_p99"`
	KLMax  float64 `json:"kl_max"`
	Agree  float64 `json:"top1_agreement"`
	// Mass is the share of full attention's weights that lie on the blocks which are selected for the same token, layer and head; of
	// every fourth token, over query heads and layers. Absent where that can not be seen, as on a GPU, and with a policy.
	Mass   *float64  `json:"attention_mass,omitempty"`
	Layers []float64 `json:"attention_mass_by_layer,omitempty"`
}

// decodedTokens of each part of the book are decoded; the rest is a prompt.
const decodedTokens = 128

// fidelity runs both over the same tokens, the reference first, whose rows are kept meanwhile.
type fidelity struct {
	reference, tested *opened
	length, from      int

	rows [][]float32 // the reference's, from position from on
	mass *mass
	d    *engine.Divergence
	err  error // of a comparison
}

func openFidelity(ctx context.Context, c *Config, s Setting, length int) (_ session, err error) {
	if length < 2*decodedTokens {
		return nil, fmt.Errorf("it decodes the last %d tokens: want a length of %d at least: %w", decodedTokens, 2*decodedTokens, ErrTask)
	}
	f := &fidelity{length: length, from: length - decodedTokens}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if f.reference, err = openEngine(ctx, c, Setting{Method: "full"}, length, func(o *engine.Options) {
		o.OnLogits = f.keep
		o.OnAttend = func(layer, pos int, q, k compute.Tensor) { f.mass.attend(layer, pos, q, k) }
	}); err != nil {
		return nil, err
	}
	// On a GPU the mass is not seen, and its own decode steps, which tell no selection, are what is tested; a policy takes tokens out of blocks.
	seen := f.reference.engine.Plan().Device == 0 && s.Policy == ""
	f.tested, err = openEngine(ctx, c, s, length, func(o *engine.Options) {
		o.OnLogits = f.compare
		if seen {
			o.OnSelect = func(layer int, t compute.Tile, sel compute.Selection) { f.mass.selected(layer, t, sel) }
		}
	})
	return f, err
}

func (f *fidelity) Close() error {
	var errs []error
	for _, o := range []*opened{f.reference, f.tested} {
		if o != nil {
			errs = append(errs, o.Close())
		}
	}
	return errors.Join(errs...)
}

// keep takes a row of the reference.
func (f *fidelity) keep(pos int, logits []float32) {
	if i := pos - f.from; i >= 0 {
		for len(f.rows) <= i {
			f.rows = append(f.rows, nil)
		}
		f.rows[i] = append(f.rows[i][:0], logits...)
	}
}

func (f *fidelity) compare(pos int, logits []float32) {
	if i := pos - f.from; i >= 0 && f.err == nil {
		f.err = f.d.Add(f.rows[i], logits)
	}
}

func (f *fidelity) sample(ctx context.Context, index int, r *Record) error {
	ids, err := f.tested.part(index, f.length)
	if err != nil {
		return err
	}
	block, _ := f.reference.engine.Blocks()
	f.d, f.mass = &engine.Divergence{}, newMass(f.from, block, f.reference.engine.Config.Layers)
	for _, o := range []*opened{f.reference, f.tested} {
		got, err := o.engine.ScoreDecoded(ctx, ids, f.from, nil)
		if err != nil {
			return err
		}
		r.KVBytes, r.KVFullBytes = held(o.engine, got.Stats.Live, len(ids)) // of the one that is tested, which comes last
	}
	if f.err != nil {
		return f.err
	}
	s := f.d.Summary()
	r.Fidelity, r.PromptTokens = &Fidelity{Tokens: s.Tokens, KL: s.KL, KL99: s.KL99, KLMax: s.KLMax, Agree: s.Agree}, len(ids)
	r.Fidelity.Mass, r.Fidelity.Layers = f.mass.share()
	return nil
}

// fidelityOf is the mean over parts of the book; of the largest distances it has the largest.
func fidelityOf(parts []*Fidelity) *Fidelity {
	f := &Fidelity{}
	for _, p := range parts {
		f.Tokens += p.Tokens
	}
	for _, p := range parts {
		share := float64(p.Tokens) / float64(max(f.Tokens, 1))
		f.KL += share * p.KL
		f.Agree += share * p.Agree
		f.KL99, f.KLMax = max(f.KL99, p.KL99), max(f.KLMax, p.KLMax)
		if p.Mass != nil {
			if f.Mass == nil {
				f.Mass = new(float64)
			}
			*f.Mass += share * *p.Mass
		}
		for i, v := range p.Layers {
			if i == len(f.Layers) {
				f.Layers = append(f.Layers, 0)
			}
			f.Layers[i] += share * v
		}
	}
	return f
}
