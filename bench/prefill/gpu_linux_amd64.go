package prefill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"nosa/attention"
	"nosa/compute"
	"nosa/compute/cuda/driver"
	"nosa/compute/cuda/step"
	"nosa/kv"
	"nosa/model"
)

// gpu runs settings on a GPU.
type gpu struct {
	d     *timed
	close func() error
	empty int64 // what was free of the device before anything was loaded

	weights step.RandomWeights
	decoder compute.Decoder
}

// Open runs settings on GPU n. Without a driver the error wraps cuda.ErrNoDriver.
func Open(n int) (Runner, error) {
	d, err := step.Open(n)
	if err != nil {
		return nil, err
	}
	r, err := newGPU(d)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	r.close = d.Close
	return r, nil
}

func newGPU(d *step.Device) (*gpu, error) {
	free, _, err := d.Memory()
	return &gpu{d: &timed{Device: d}, close: func() error { return nil }, empty: free}, err
}

// Machine describes the GPU.
func (r *gpu) Machine() *Machine {
	return &Machine{Device: r.d.Info(), Memory: r.empty, Peak: r.d.Properties().PeakBF16()}
}

// Run measures a setting.
func (r *gpu) Run(ctx context.Context, s Setting) (out Measured, err error) {
	m, err := s.Meaning()
	if err != nil {
		return out, err
	}
	if err := r.load(m); err != nil {
		return out, roomOr(err)
	}
	p, err := r.open(s, m)
	defer func() { err = errors.Join(err, p.close()) }()
	if err != nil {
		return out, roomOr(err)
	}
	// What is loaded or allocated at its first use is not measured.
	if _, err := p.run(ctx, min(s.Context, s.Chunk+m.Constants.Block)); err != nil {
		return out, roomOr(err)
	}
	for range s.Runs {
		took, err := p.run(ctx, s.Context)
		if err != nil {
			return out, roomOr(err)
		}
		out.Seconds = append(out.Seconds, took.Seconds())
	}
	if s.Parts {
		if err := r.d.begin(); err != nil {
			return out, err
		}
		_, err := p.run(ctx, s.Context)
		out.Parts, err = r.d.end(err)
		return out, err
	}
	return out, nil
}

// load sees to the weights of a setting.
func (r *gpu) load(m Meaning) (err error) {
	h := m.Shape
	shape := step.Shape{Layers: h.Layers, Hidden: h.Hidden, Intermediate: h.FFN, Vocab: h.Vocab, Heads: h.Heads, KVHeads: h.KVHeads, Dim: h.HeadDim, RopeBase: float64(h.RopeBase)}
	r.decoder, err = r.weights.Of(r.d.Device.Device, shape, m.Weights)
	return err
}

// Close gives the weights back, and the device.
func (r *gpu) Close() error {
	r.weights.Free()
	return errors.Join(r.d.Sync(), r.close())
}

// prompt is a model with everything that a pass over a prompt needs.
type prompt struct {
	dev   compute.Device
	s     Setting
	m     Meaning
	model *model.Model
	store *kv.Store
	att   *attention.Attention
	work  *model.Workspace
	host  []byte // the last logits
}

func (r *gpu) open(s Setting, m Meaning) (p *prompt, err error) {
	p = &prompt{dev: r.d, s: s, m: m}
	h, d := m.Shape, r.decoder
	c := &model.Config{Family: "nosa", Hidden: h.Hidden, Layers: h.Layers, Heads: h.Heads, KVHeads: h.KVHeads, HeadDim: h.HeadDim, Intermediate: h.FFN,
		Vocab: h.Vocab, MaxPositions: s.Context, Eps: d.Eps, EmbedScale: 1, ResidualScale: 1, LogitScale: 1,
		Rope: model.RopeConfig{Theta: float64(h.RopeBase), Dims: h.HeadDim}}
	if !m.Layout.Scores {
		d.Layers = append([]compute.DecoderLayer(nil), d.Layers...)
		for i := range d.Layers {
			d.Layers[i].Delta, d.Layers[i].A = compute.Projection{}, compute.Tensor{}
		}
	}
	if p.model, err = model.New(r.d, c, d); err != nil {
		return p, err
	}
	blocks := (s.Context + m.Layout.Block - 1) / m.Layout.Block * h.Layers * h.KVHeads
	if p.store, err = kv.Open(r.d, kv.Config{Layout: m.Layout, Layers: h.Layers, Blocks: blocks}, slog.New(slog.DiscardHandler)); err != nil {
		return p, err
	}
	if p.att, err = attention.New(r.d, p.store, attention.Config{Method: m.Method, Constants: m.Constants, Heads: h.Heads, Layers: h.Layers, Context: s.Context}); err != nil {
		return p, err
	}
	p.work, err = p.model.NewWorkspace(s.Chunk, 1)
	p.host = make([]byte, 4*h.Vocab)
	return p, err
}

// run takes a new sequence through its first tokens, up to the logits of the last.
func (p *prompt) run(ctx context.Context, tokens int) (took time.Duration, err error) {
	seq, err := p.store.NewSequence(kv.SequenceOptions{Tokens: tokens, NoShare: true})
	if err != nil {
		return 0, err
	}
	defer seq.Free()
	rng := rand.New(rand.NewPCG(1, 2))
	ids := make([]int32, tokens)
	for i := range ids {
		if i%p.s.Same == 0 {
			ids[i] = int32(rng.IntN(p.m.Shape.Vocab))
		} else {
			ids[i] = ids[i-1]
		}
	}
	var b model.Batch
	start := time.Now()
	for at := 0; at < tokens; {
		n := min(p.s.Chunk, tokens-at)
		p.store.BeginStep()
		if err := seq.Reserve(n); err != nil {
			return 0, err
		}
		b.Reset()
		b.Add(seq, ids[at:at+n])
		b.From = n
		if at += n; at == tokens {
			b.From = n - 1
		}
		if err := errors.Join(p.model.Forward(ctx, p.att, p.work, &b), b.Spans[0].Err); err != nil {
			return 0, err
		}
		seq.Advance(b.IDs)
		if at == tokens {
			p.dev.Download(p.host, p.model.Logits(p.work, n-1, n))
		}
	}
	err = p.dev.Sync()
	return time.Since(start), err
}

func (p *prompt) close() error {
	var errs []error
	if p.work != nil {
		p.work.Close()
	}
	if p.att != nil {
		p.att.Close()
	}
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	if p.model != nil {
		errs = append(errs, p.model.Close())
	}
	return errors.Join(append(errs, p.dev.Sync())...)
}

// roomOr makes an error of a device without memory left one of a setting that does not fit.
func roomOr(err error) error {
	if errors.Is(err, driver.ErrMemory) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return err
}
