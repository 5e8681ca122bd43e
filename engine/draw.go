package engine

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"nosa/compute"
)

// drawer is what one goroutine draws with.
type drawer struct {
	sampler compute.Sampler
	raw     []float32 // a row of logits, before penalties
}

// peakDraws is how many draws from peaks one does before others would have begun. Whole rows
// take a thousand times as long as a goroutine takes to begin.
const peakDraws = 12

// each is a compute.Side of goroutines.
func each(n int, f func(i int)) {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { f(i) })
	}
	wait.Wait()
}

// drawer is the first or a later one.
func (e *Engine) drawer(i int) *drawer {
	for len(e.drawers) <= i {
		e.drawers = append(e.drawers, &drawer{})
	}
	return e.drawers[i]
}

// side calls f for 0 to n−1: side by side, with each or more for one goroutine, where the model
// is on a device with memory of its own, for which processors wait meanwhile.
func (e *Engine) side(n, each int, f func(d *drawer, i int)) {
	many := 1
	if e.host != nil {
		many = max(1, min(n/each, runtime.GOMAXPROCS(0)))
	}
	if d := e.drawer(many - 1); many == 1 {
		for i := range n {
			f(d, i)
		}
		return
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	for _, d := range e.drawers[:many] {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(d, i)
			}
		})
	}
	wait.Wait()
}

// drawPeaks draws for those rows of the device's last step that have asked.
func (e *Engine) drawPeaks(from, to int) {
	e.draws = e.draws[:0]
	for at := from; at < to; at++ {
		switch r := &e.riders[e.seated[at]]; {
		case e.rows[at].Ask.Most == 1:
			r.drawPeak(e, e.drawer(0))
		case e.rows[at].Ask.Most > 1:
			e.draws = append(e.draws, r)
		}
	}
	if len(e.draws) > 0 {
		e.drawAsked()
	}
}

func (e *Engine) drawAsked() {
	e.side(len(e.draws), peakDraws, func(d *drawer, i int) { e.draws[i].drawPeak(e, d) })
}

func (r *rider) drawPeak(e *Engine, d *drawer) {
	r.token.ID, r.drawn = d.sampler.SamplePeak(r.peak(e), r.choice.sampling, e.model.Vocab, int(e.rows[r.row].Pos))
}

// peak is what the device's last step, which it was in, says of its row.
func (r *rider) peak(e *Engine) compute.Peak { return e.dec.Peak(r.row - e.latest) }

// drawLeft draws from whole rows of the device's last step where what it said of them did not
// do, so that those which lie apart are fetched one after the other and drawn from side by side.
func (e *Engine) drawLeft() error {
	if e.host == nil {
		return nil // rows are where they can be read
	}
	e.draws = e.draws[:0]
	for at := e.latest; at < len(e.rows); at++ {
		if r := &e.riders[e.seated[at]]; r.choice != nil && r.err == nil && !r.drawn {
			e.draws = append(e.draws, r)
		}
	}
	for some := range slices.Chunk(e.draws, e.work.LogitRows) {
		if err := e.drawFetched(some); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) drawFetched(riders []*rider) error {
	width := e.model.Vocab
	for from := 0; from < len(riders); {
		to := from + 1
		for to < len(riders) && riders[to].row == riders[to-1].row+1 {
			to++
		}
		row := riders[from].row - e.latest
		v := e.host[from*width : to*width]
		if err := e.guard(func() error {
			e.dev.Download(compute.F32s(v, len(v)).Data, e.dec.Logits(row, row+to-from))
			return nil
		}); err != nil {
			return err
		}
		from = to
	}
	var within compute.Side
	if len(riders) < runtime.GOMAXPROCS(0) { // else each has a row
		within = each
	}
	e.side(len(riders), 1, func(d *drawer, i int) {
		r, logits, pos := riders[i], e.host[i*width:][:width:width], riders[i].seq.Len()-1
		if e.rows[r.row].Ask.Most > 0 {
			if r.token.ID, r.drawn = d.sampler.SampleBeyond(r.peak(e), logits, r.choice.sampling, pos, within); r.drawn {
				return
			}
		}
		var err error // comes again with the row
		r.token, err = r.choice.draw(d, logits, pos)
		r.drawn = err == nil
	})
	return nil
}

// draw has the choices of riders draw whose last rows are among from to to−1, which have
// these logits.
func (e *Engine) draw(riders []rider, from, to int, logits []float32) {
	e.draws = e.draws[:0]
	for i := range riders {
		if r := &riders[i]; r.choice != nil && r.err == nil && r.last(e) >= from && r.last(e) < to {
			e.draws = append(e.draws, r)
		}
	}
	if len(e.draws) > 0 {
		e.drawRows(from, logits, len(logits)/(to-from))
	}
}

func (e *Engine) drawRows(from int, logits []float32, width int) {
	e.side(len(e.draws), 1, func(d *drawer, i int) {
		r := e.draws[i]
		r.token, r.wrong = r.choice.draw(d, logits[(r.last(e)-from)*width:][:width:width], r.seq.Len()-1)
		r.drawn = r.wrong == nil
	})
}

// last is a rider's last row: see first.
func (r *rider) last(e *Engine) int { return e.first(r) + r.n - 1 }

// with reports whether the rows of both can be had together: no token has been drawn from either.
func (r *rider) with(o *rider) bool { return o.hidden == r.hidden && !o.drawn && !r.drawn }
