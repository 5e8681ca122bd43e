package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"nosa/engine"
	"nosa/kv"
)

// Lane is one attention method in an engine of its own.
type Lane struct {
	Engine  *engine.Engine
	Options engine.Options // that it was opened with
	Device  string

	held    []*engine.Stream // by member of the largest batch, all of one length
	traffic *traffic
}

// text gives the ids that the sequences are fed: real ones, or pseudo-random ones
// that are the same in every run of the program. Each member of a batch has its own,
// so that no two share a block.
type text struct {
	ids   []int32 // nil: random
	vocab int
}

// slice is the tokens from..to−1 of a member.
func (x text) slice(member, from, to int) []int32 {
	out := make([]int32, to-from)
	for i := range out {
		if x.ids != nil {
			out[i] = x.ids[(from+i+member*memberStep)%len(x.ids)]
			continue
		}
		rng := rand.NewPCG(uint64(member), uint64(from+i)) // of each place, so that any part can be had alone
		out[i] = int32(rng.Uint64() % uint64(x.vocab))
	}
	return out
}

// memberStep is how far apart the members of a batch begin in a real text, which
// starts again behind its end. It is no whole number of blocks.
const memberStep = 1009

// hold opens the streams that keep what all runs begin with.
func (l *Lane) hold(members, tokens int) error {
	for range members {
		s, err := l.Engine.NewStream(max(tokens, 1), nil)
		if err != nil {
			return err
		}
		l.held = append(l.held, s)
	}
	return nil
}

// advance feeds the held streams up to a depth. told hears how many more tokens are
// done.
func (l *Lane) advance(ctx context.Context, x text, depth int, told func(tokens int)) error {
	for i, s := range l.held {
		for s.Len() < depth {
			ids := x.slice(i, s.Len(), min(s.Len()+feedStep, depth))
			if err := s.Feed(ctx, ids); err != nil {
				return err
			}
			told(len(ids))
		}
	}
	return nil
}

// feedStep is the tokens between two looks at the progress.
const feedStep = 1024

// release closes the held streams.
func (l *Lane) release() {
	for _, s := range l.held {
		s.Close()
	}
	l.held = nil
}

// outcome is what a run took.
type outcome struct {
	elapsed time.Duration
	counted kv.LayerStats
	others  share
}

// run does a test once: it opens sequences that begin with the held ones' blocks,
// feeds what is missing to the depth, and measures from there.
func (l *Lane) run(ctx context.Context, x text, test Test) (out outcome, err error) {
	streams := make([]*engine.Stream, test.Batch)
	defer func() {
		for _, s := range streams {
			if s != nil {
				s.Close()
			}
		}
	}()
	before := make([]kv.LayerStats, test.Batch)
	todo := make([][]int32, test.Batch)
	for i := range streams {
		var prefix []int32
		if test.Depth > 0 {
			prefix = x.slice(i, 0, test.Depth+1) // the last token of a prefix is never taken over
		}
		s, err := l.Engine.NewStream(test.Depth+test.tokens(), prefix)
		if err != nil {
			return out, err
		}
		streams[i] = s
		if want := test.Depth / l.traffic.layout.Block * l.traffic.layout.Block; s.Len() != want {
			return out, fmt.Errorf("%s: %d tokens of depth were taken over, want %d", test, s.Len(), want)
		}
		if err := s.Feed(ctx, x.slice(i, s.Len(), test.Depth)); err != nil {
			return out, err
		}
		todo[i] = x.slice(i, test.Depth, test.Depth+test.tokens())
		before[i] = s.Stats().Total
	}
	clock, start := now(), time.Now()
	if test.Prompt > 0 {
		err = streams[0].Feed(ctx, todo[0])
	} else {
		err = l.decode(ctx, streams, todo)
	}
	out.elapsed = time.Since(start)
	out.others = clock.since(0)
	for i, s := range streams {
		out.counted = sum(out.counted, difference(s.Stats().Total, before[i]))
	}
	return out, err
}

// decode generates tokens, a step each. The next token is known beforehand, as in
// llama-bench: the logits are computed and nothing is drawn from them.
func (l *Lane) decode(ctx context.Context, streams []*engine.Stream, todo [][]int32) error {
	next := make([]int32, len(streams))
	for step := range todo[0] {
		for i := range next {
			next[i] = todo[i][step]
		}
		if err := l.Engine.DecodeStep(ctx, streams, next, func(int, []float32) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// warm does a little of a test, untimed: pages of weights come in, threads wake up.
func (l *Lane) warm(ctx context.Context, x text, test Test) error {
	const tokens = 2
	if test.Prompt > 0 {
		test.Prompt = min(test.Prompt, l.traffic.layout.Block)
	} else {
		test.Gen = min(test.Gen, tokens)
	}
	_, err := l.run(ctx, x, test)
	return err
}

// difference and sum are of the counters that figures are made of.
func difference(a, b kv.LayerStats) kv.LayerStats {
	return kv.LayerStats{
		Selected: a.Selected - b.Selected, Hits: a.Hits - b.Hits, HostHits: a.HostHits - b.HostHits, DiskHits: a.DiskHits - b.DiskHits,
		BytesUp: a.BytesUp - b.BytesUp, Wait: a.Wait - b.Wait,
	}
}

func sum(a, b kv.LayerStats) kv.LayerStats {
	return kv.LayerStats{
		Selected: a.Selected + b.Selected, Hits: a.Hits + b.Hits, HostHits: a.HostHits + b.HostHits, DiskHits: a.DiskHits + b.DiskHits,
		BytesUp: a.BytesUp + b.BytesUp, Wait: a.Wait + b.Wait,
	}
}
