package engine

import (
	"errors"
	"log/slog"

	"nosa/attention"
	"nosa/compute"
	"nosa/kv"
	"nosa/model"
	"nosa/policy"
)

// Engine is a loaded model with its block store. It belongs to one goroutine.
type Engine struct {
	*Source
	dev   compute.Device
	log   *slog.Logger
	set   *settings
	plan  *Plan
	model *model.Model
	store *kv.Store
	att   *attention.Attention
	work  *model.Workspace
	press *policy.Runner // nil: nothing compresses the cache
	dec   compute.Step   // the device's own steps; nil: it has none

	// Of the step that runs, kept from one to the next.
	asked  uint64 // steps so far, refused ones too
	parts  []Part
	batch  model.Batch
	riders []rider
	rows   []compute.StepRow // of the device's own steps
	sat    []*kv.Sequence    // by such a row
	seated []int             // by such a row: its rider
	latest int               // the first such row of the step that ran last
	kept   [][]float32       // by such a row: what it said before the next step ran
	token  [1]int32
	host   []float32 // logits, of a device with memory of its own
	pinned []byte    // which they lie in, if the device gave it

	// beside, if not nil, is called in each step, when the device's own has been posted: it has
	// what need not be done before.
	beside func()

	draws   []*rider  // that have a choice, of the rows at hand
	drawers []*drawer // as many as have drawn side by side
}

// Prepare resolves the options against the model and plans its memory; nothing
// of it is allocated. The Source stays the caller's.
func (s *Source) Prepare(o Options) (*Plan, error) {
	_, _, p, err := s.prepare(o, nil)
	return p, err
}

// prepare is for a device, or for none that decodes by itself.
func (s *Source) prepare(o Options, dev compute.Device) (*model.Config, *settings, *Plan, error) {
	c := *s.Config
	if o.RopeType != "" {
		if err := c.ScaleRope(o.RopeType, o.RopeBy); err != nil {
			return nil, nil, nil, err
		}
	}
	if _, ok := dev.(compute.Packer); ok && o.Chunk == 0 {
		o.Chunk = packedChunk
	}
	set, err := o.resolve(&c, model.HasScores(s.Checkpoint))
	if err != nil {
		return nil, nil, nil, err
	}
	if m, ok := dev.(compute.MemoryDevice); ok {
		if set.free, _, err = m.Memory(); err != nil {
			return nil, nil, nil, err
		}
		set.free = max(set.free, 1)
	}
	if set.packing, err = newPacking(dev, s, &c, set); err != nil {
		return nil, nil, nil, err
	}
	if set.steps, err = newSteps(dev, s, &c, set); err != nil {
		return nil, nil, nil, err
	}
	p, err := plan(&c, set, s.Checkpoint.Bytes(), Available())
	return &c, set, p, err
}

// Open plans, loads and allocates. The Source is the engine's from here on, and
// closed with it; on an error it stays the caller's.
func Open(dev compute.Device, src *Source, o Options, log *slog.Logger) (*Engine, error) {
	c, set, p, err := src.prepare(o, dev)
	if err != nil {
		return nil, err
	}
	e := &Engine{Source: src, dev: dev, log: log, set: set, plan: p}
	fail := func(err error) (*Engine, error) {
		e.Source = nil
		return nil, errors.Join(err, e.Close())
	}
	if err = e.guard(func() (err error) {
		e.model, err = model.Load(dev, src.Checkpoint, c, set.Context, set.method.Keeps().Scores)
		return err
	}); err != nil {
		return fail(err)
	}
	identity, err := e.identity(c)
	if err != nil {
		return fail(err)
	}
	if e.store, err = kv.Open(dev, p.store(c, set, identity), log); err != nil {
		return fail(err)
	}
	if e.att, err = attention.New(dev, e.store, attention.Config{
		Method: set.method, Constants: set.constants, Heads: c.Heads, Layers: c.Layers, Context: set.Context, Trace: set.OnSelect, Watch: set.OnAttend,
	}); err != nil {
		return fail(err)
	}
	if e.work, err = e.model.NewWorkspace(set.rows(), set.logitRows()); err != nil {
		return fail(err)
	}
	if p := set.policy; p != nil {
		if e.press, err = policy.NewRunner(dev, e.store, p.policy, p.shape); err != nil {
			return fail(err)
		}
	}
	if err = e.openSteps(); err != nil {
		return fail(err)
	}
	return e, nil
}

// Plan says what the engine takes.
func (e *Engine) Plan() *Plan { return e.plan }

// Vocab is how many token ids the model knows.
func (e *Engine) Vocab() int { return e.model.Vocab }

// Width is how many numbers a hidden state has.
func (e *Engine) Width() int { return e.model.Hidden }

// Blocks says how many tokens a block has, and how many blocks of all layers and KV heads
// together there can be.
func (e *Engine) Blocks() (tokens, n int) {
	return e.set.layout.Block, e.plan.Blocks / (e.model.Layers * e.model.KVHeads)
}

// Note is what the user should know about a choice that was made; often empty.
func (e *Engine) Note() string { return e.set.note }

// Store is the engine's block store, for statistics and checks.
func (e *Engine) Store() *kv.Store { return e.store }

// Close gives everything back, the checkpoint included.
func (e *Engine) Close() error {
	var errs []error
	if e.dec != nil {
		errs = append(errs, e.dec.Close())
	}
	errs = append(errs, e.closeHost())
	if e.press != nil {
		e.press.Close()
	}
	if e.work != nil {
		e.work.Close()
	}
	if e.att != nil {
		e.att.Close()
	}
	if e.store != nil {
		errs = append(errs, e.store.Close())
	}
	if e.model != nil {
		errs = append(errs, e.model.Close())
	}
	if e.Source != nil {
		errs = append(errs, e.Source.Close())
	}
	e.dec, e.press, e.work, e.att, e.store, e.model, e.Source = nil, nil, nil, nil, nil, nil, nil
	return errors.Join(errs...)
}
