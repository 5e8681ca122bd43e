package bench

import (
	"context"
	"fmt"

	"nosa/kv"
)

// Config is what Run measures, and with what.
type Config struct {
	Sweep
	Model    string // for people
	KVType   string
	Numerics string // f32, int16 or int8: how quantised weights are multiplied; on a GPU bf16 or f32, how attention is
	Threads  int
	Repeat   int     // runs of each test; the lanes' and the peer's alternate
	Text     []int32 // what the sequences hold; nil: pseudo-random ids
	Machine  *Machine
	Lanes    []*Lane
	Peer     *Peer // nil: none

	// Emit is given each *Figure and *Ratio as soon as it is known.
	Emit func(any) error
	// Progress, when set, is told of the tokens that are done, of all that ours and
	// the peer go through, those on the way to a depth included.
	Progress func(done, total int64, doing string)
	// Warn, when set, is told what went wrong with the peer; ours goes on.
	Warn func(error)
}

// sweep is a Run under way.
type sweep struct {
	Config
	done, total int64
}

// Run measures everything. The engines stay the caller's.
func Run(ctx context.Context, c Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	if c.Repeat < 1 || c.Repeat > 1000 {
		return fmt.Errorf("%w: --repeat %d: want 1 to 1000", ErrConfig, c.Repeat)
	}
	if c.Progress == nil {
		c.Progress = func(int64, int64, string) {}
	}
	if c.Warn == nil {
		c.Warn = func(error) {}
	}
	r := &sweep{Config: c}
	tests := c.Tests()
	deepest := tests[len(tests)-1].Depth
	r.total = int64(len(c.Lanes) * c.Sequences() * deepest)
	for _, t := range tests {
		r.total += int64(len(c.Lanes)*c.Repeat*t.tokens()*t.Batch) + r.peerTokens(t)
	}
	for _, l := range c.Lanes {
		defer l.release()
		if err := l.hold(c.Sequences(), deepest); err != nil {
			return err
		}
		var err error
		if l.traffic, err = newTraffic(l.Engine, l.Options); err != nil {
			return err
		}
	}
	for _, t := range tests {
		if err := r.test(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// text is what a lane's sequences hold.
func (r *sweep) text(l *Lane) text { return text{ids: r.Text, vocab: l.Engine.Config.Vocab} }

// test measures one test in all lanes, and the peer between them.
func (r *sweep) test(ctx context.Context, t Test) error {
	samples := make([][]float64, len(r.Lanes))
	counted := make([]kv.LayerStats, len(r.Lanes))
	others := make([]share, len(r.Lanes))
	for _, l := range r.Lanes {
		name := l.Engine.Plan().Method
		err := l.advance(ctx, r.text(l), t.Depth, func(tokens int) {
			r.done += int64(tokens)
			r.Progress(r.done, r.total, fmt.Sprintf("%s to d%d", name, t.Depth))
		})
		if err == nil {
			err = l.warm(ctx, r.text(l), t)
		}
		if err != nil {
			return fmt.Errorf("%s, attention %s: %w", t, name, err)
		}
	}
	peer := peerSamples{speeds: map[int][]float64{}}
	for i := range r.Repeat {
		for n, l := range r.Lanes {
			name := l.Engine.Plan().Method
			r.Progress(r.done, r.total, t.String()+" "+name)
			out, err := l.run(ctx, r.text(l), t)
			if err != nil {
				return fmt.Errorf("%s, attention %s: %w", t, name, err)
			}
			samples[n] = append(samples[n], float64(t.tokens()*t.Batch)/max(out.elapsed.Seconds(), 1e-9))
			counted[n] = sum(counted[n], out.counted)
			others[n].add(out.others)
			r.done += int64(t.tokens() * t.Batch)
		}
		if err := r.peer(ctx, t, i, &peer); err != nil {
			return err
		}
	}
	for n, l := range r.Lanes {
		f := r.figure(l, t, samples[n], counted[n])
		f.Others = others[n].part()
		if err := r.Emit(f); err != nil {
			return err
		}
		if r.Peer == nil {
			continue
		}
		if ratio, ok := newRatio(f.Setting, f.Samples, peer.speeds); ok {
			ratio.Peer, ratio.Others = r.Peer.Version(), peer.others.part()
			if err := r.Emit(&ratio); err != nil {
				return err
			}
		}
	}
	return nil
}

// figure puts a test's samples beside what the machine could do.
func (r *sweep) figure(l *Lane, t Test, samples []float64, counted kv.LayerStats) *Figure {
	f := &Figure{Samples: samples, Setting: Setting{
		Kind: "figure", Test: t.String(), Model: r.Model, Attention: l.Engine.Plan().Method, Device: l.Device, KVType: r.KVType,
		Numerics: r.Numerics, Threads: r.Threads, Prompt: t.Prompt, Gen: t.Gen, Depth: t.Depth, Batch: t.Batch,
	}}
	each := counted
	each.Selected /= int64(r.Repeat) // every run selects alike
	need := l.traffic.of(t, each)
	tokens := t.tokens() * t.Batch
	f.Bytes, f.FLOPsPerToken = need.perToken(tokens)
	f.BytesPerToken = f.Bytes.total()
	if r.Machine != nil {
		var seconds float64
		if seconds, f.Bound, f.Bandwidth = r.Machine.roofline(need, r.Numerics); seconds > 0 {
			f.RooflineTS = float64(tokens) / seconds
		}
	}
	f.Tiers = Tiers{counted.HitRate(), counted.HostHits, counted.DiskHits, counted.BytesUp, counted.Wait.Seconds()}
	f.summarise()
	return f
}

// peerTokens is what the peer goes through for a test.
func (r *sweep) peerTokens(t Test) (tokens int64) {
	if r.Peer == nil || !r.Peer.runs(t) {
		return 0
	}
	for i := range r.Repeat {
		tokens += int64(len(r.Peer.Flash)) * processTokens(t, r.Peer.repetitions(t, i, r.Repeat))
	}
	return tokens
}

// processTokens is what one process of the peer goes through: the depth once, each
// repetition from there.
func processTokens(t Test, repetitions int) int64 {
	if repetitions == 0 {
		return 0
	}
	return int64(t.Batch * (t.Depth + repetitions*t.tokens()))
}

// peerSamples are what the peer's processes of a test gave.
type peerSamples struct {
	speeds map[int][]float64 // by setting of flash attention
	others share
}

// peer runs what belongs behind our run i, and adds its samples. What goes wrong
// with the peer is told, and ends that setting of it: ours goes on.
func (r *sweep) peer(ctx context.Context, t Test, i int, samples *peerSamples) error {
	if r.Peer == nil || !r.Peer.runs(t) {
		return nil
	}
	n := r.Peer.repetitions(t, i, r.Repeat)
	if n == 0 {
		return nil
	}
	for _, flash := range r.Peer.Flash {
		if !r.Peer.given(t, flash) {
			r.Progress(r.done, r.total, fmt.Sprintf("%s %s -fa %d", t, r.Peer.Name(), flash))
			got, others, err := r.Peer.Run(ctx, t, flash, n)
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			if err != nil {
				r.Warn(err)
				r.Peer.give(t, flash)
				delete(samples.speeds, flash)
			} else {
				samples.speeds[flash] = append(samples.speeds[flash], got...)
				samples.others.add(others)
			}
		}
		r.done += processTokens(t, n)
	}
	return nil
}
