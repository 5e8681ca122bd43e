package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// world is a machine that the scheduler is tried on: steps take time by their tokens,
// and blocks are so many tokens of room.
type world struct {
	t     *testing.T
	s     *scheduler
	now   time.Time
	room  int // tokens that open requests may hold together
	taken int
	steps int
	jobs  map[*job]*life
	order []*job // in which they were opened
}

// life is what a request of the world wants and what became of it.
type life struct {
	generate      int
	came          time.Time
	first, ended  time.Time
	opened, turns int
}

func newWorld(t *testing.T, s *scheduler, room int) *world {
	return &world{t: t, s: s, now: time.Unix(0, 0), room: room, jobs: map[*job]*life{}}
}

func (w *world) come(tenant string, priority, prompt, generate int) *job {
	j := &job{tenant: tenant, priority: priority, prompt: prompt, most: prompt + generate}
	w.jobs[j] = &life{generate: generate, came: w.now}
	w.s.add(j, w.now)
	return j
}

func (w *world) open(j *job) bool {
	if w.taken+j.most > w.room {
		return false
	}
	w.taken += j.most
	w.jobs[j].opened++
	w.order = append(w.order, j)
	return true
}

func (w *world) leave(j *job) {
	if w.jobs[j].opened > 0 {
		w.taken -= j.most
	}
	w.s.remove(j)
	w.jobs[j].ended = w.now
}

// step runs one step and holds the scheduler to its promises.
func (w *world) step() {
	w.t.Helper()
	turns := slices.Clone(w.s.step(w.now, w.open))
	tokens, ofPrompts, decoding, prefilling := 0, 0, 0, 0
	var seen []*job
	for _, turn := range turns {
		if slices.Contains(seen, turn.job) || !slices.Contains(w.s.running, turn.job) || w.jobs[turn.job].opened != 1 {
			w.t.Fatalf("step %d: a request has two turns, or none to have: %+v", w.steps, turn.job)
		}
		seen = append(seen, turn.job)
		tokens += turn.tokens
		if turn.held >= turn.prompt {
			decoding++
			if turn.tokens != 1 {
				w.t.Fatalf("step %d: %d tokens of one that is decoded", w.steps, turn.tokens)
			}
		} else if ofPrompts += turn.tokens; turn.tokens < 1 || turn.tokens > turn.prompt-turn.held {
			w.t.Fatalf("step %d: %d tokens of %d that are left of a prompt", w.steps, turn.tokens, turn.prompt-turn.held)
		}
	}
	for _, j := range w.s.running {
		if j.held < j.prompt {
			prefilling++
		} else if !slices.Contains(seen, j) {
			w.t.Fatalf("step %d: one that is decoded has no turn", w.steps)
		}
	}
	switch {
	case len(w.s.running) > w.s.seats || tokens > w.s.rows || w.taken > w.room:
		w.t.Fatalf("step %d: %d seated, %d tokens, %d held", w.steps, len(w.s.running), tokens, w.taken)
	case decoding > 0 && ofPrompts > w.s.piece:
		w.t.Fatalf("step %d: %d tokens of prompts beside %d that are decoded", w.steps, ofPrompts, decoding)
	case prefilling > 0 && ofPrompts == 0:
		w.t.Fatalf("step %d: nothing of %d prompts", w.steps, prefilling)
	case len(turns) == 0 && len(w.s.waiting) > 0:
		w.t.Fatalf("step %d: %d wait and nobody runs", w.steps, len(w.s.waiting))
	}
	w.steps++
	w.now = w.now.Add(10*time.Millisecond + time.Duration(tokens)*time.Millisecond)
	for _, turn := range turns {
		j, l := turn.job, w.jobs[turn.job]
		l.turns++
		j.held += turn.tokens
		if j.held == j.prompt {
			l.first = w.now
		}
		if j.held >= j.prompt+l.generate {
			w.leave(j)
		}
	}
}

func (w *world) run(most int) {
	w.t.Helper()
	for most += w.steps; len(w.s.waiting)+len(w.s.running) > 0; {
		if w.step(); w.steps > most {
			w.t.Fatalf("after %d steps %d wait and %d run", w.steps, len(w.s.waiting), len(w.s.running))
		}
	}
	if w.taken != 0 || len(w.s.ends) != 0 {
		w.t.Errorf("%d tokens and %d tenants are left", w.taken, len(w.s.ends))
	}
}

// TestSchedulerRandom: requests of all sorts come and go at random, some before their
// end; each promise holds in each step, and all come to their end.
func TestSchedulerRandom(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		seats := 1 + rnd.IntN(12)
		s := &scheduler{seats: seats, rows: seats + 1 + rnd.IntN(600), piece: 1 + rnd.IntN(300), patience: time.Duration(rnd.IntN(3)) * time.Second}
		w := newWorld(t, s, 5000)
		total := 0
		for range 60 {
			for range rnd.IntN(4) {
				j := w.come(string(rune('a'+rnd.IntN(4))), rnd.IntN(3), 1+rnd.IntN(1+rnd.IntN(4000)), rnd.IntN(100))
				total += j.most
			}
			for range rnd.IntN(10) {
				w.step()
			}
			if rnd.IntN(4) == 0 {
				if all := slices.Concat(s.waiting, s.running); len(all) > 0 {
					w.leave(all[rnd.IntN(len(all))])
				}
			}
		}
		w.run(total)
	}
}

// TestSchedulerShares: a tenant with a thousand requests in the queue delays another
// one's by those that are running and one more.
func TestSchedulerShares(t *testing.T) {
	w := newWorld(t, &scheduler{seats: 4, rows: 600, piece: 300}, 1<<30)
	for range 1000 {
		w.come("many", 0, 500, 50)
	}
	for range 40 {
		w.step()
	}
	before := len(w.order)
	one := w.come("one", 0, 500, 50)
	for w.jobs[one].opened == 0 {
		w.step()
	}
	if at := slices.Index(w.order, one) - before; at > 1 {
		t.Errorf("%d requests of the other went before", at)
	}
	// Of two with as many, each has half of the seats that are given.
	for range 100 {
		w.come("two", 0, 500, 50)
	}
	before = len(w.order)
	for len(w.order) < before+80 {
		w.step()
	}
	mine := 0
	for _, j := range w.order[before : before+80] {
		if j.tenant == "two" {
			mine++
		}
	}
	if mine < 38 || mine > 42 {
		t.Errorf("%d of 80 seats", mine)
	}
	// Large requests count for more than small ones.
	w = newWorld(t, &scheduler{seats: 1, rows: 5000, piece: 5000}, 1<<30)
	for range 100 {
		w.come("large", 0, 4000, 0)
		w.come("small", 0, 400, 0)
	}
	for len(w.order) < 88 {
		w.step()
	}
	if n := len(slices.DeleteFunc(slices.Clone(w.order[:88]), func(j *job) bool { return j.tenant == "small" })); n < 7 || n > 9 {
		t.Errorf("%d large ones beside %d small ones", n, 88-n)
	}
}

// TestSchedulerPauses: one of a higher priority takes the seat of one of the lowest at
// once; that one keeps its blocks and goes on when a seat is free.
func TestSchedulerPauses(t *testing.T) {
	w := newWorld(t, &scheduler{seats: 2, rows: 100, piece: 50}, 1000)
	low, lower := w.come("a", 1, 10, 50), w.come("a", 0, 10, 50)
	for range 3 {
		w.step()
	}
	high := w.come("b", 2, 10, 20)
	w.step()
	if w.jobs[high].turns != 1 || w.jobs[low].turns != 4 || w.jobs[lower].turns != 3 || !slices.Contains(w.s.waiting, lower) {
		t.Fatalf("turns %d, %d, %d", w.jobs[high].turns, w.jobs[low].turns, w.jobs[lower].turns)
	}
	equal := w.come("b", 1, 10, 5) // takes nobody's
	w.step()
	if w.jobs[equal].turns != 0 {
		t.Error("an equal one took a seat")
	}
	w.run(1000)
	for j, l := range w.jobs {
		if l.opened != 1 {
			t.Errorf("priority %d was opened %d times", j.priority, l.opened)
		}
	}
	if !w.jobs[lower].ended.After(w.jobs[high].ended) {
		t.Error("the paused one ended first")
	}
}

// TestSchedulerPatience: with more high requests than the machine can do, a low one
// still gets its seat when it has waited long enough, and is not paused again.
func TestSchedulerPatience(t *testing.T) {
	w := newWorld(t, &scheduler{seats: 2, rows: 100, piece: 50, patience: 5 * time.Second}, 1<<30)
	low := w.come("a", 0, 50, 50)
	for w.jobs[low].ended.IsZero() {
		for len(w.s.waiting) < 5 {
			w.come("b", 3, 50, 50)
		}
		if w.step(); w.steps > 1e5 {
			t.Fatal("it starves")
		}
	}
	if waited := w.jobs[low].first.Sub(w.jobs[low].came); waited < 15*time.Second || waited > 25*time.Second {
		t.Errorf("its first token after %v, want 15 to 25 s", waited)
	}
}

// TestSchedulerLarge: small requests that would fit do not keep a large one out.
func TestSchedulerLarge(t *testing.T) {
	w := newWorld(t, &scheduler{seats: 8, rows: 100, piece: 50}, 1000)
	for range 8 {
		w.come("a", 0, 50, 60)
	}
	w.step()
	large := w.come("a", 0, 900, 50)
	for w.jobs[large].ended.IsZero() {
		for len(w.s.waiting) < 5 {
			w.come("a", 0, 50, 60)
		}
		if w.step(); w.steps > 2000 {
			t.Fatal("it starves")
		}
	}
}

// TestSchedulerLongPrompt: while a long prompt is read, others get their tokens in each
// step and short prompts are not behind it; it gets its part all the same.
func TestSchedulerLongPrompt(t *testing.T) {
	w := newWorld(t, &scheduler{seats: 16, rows: 512, piece: 256}, 1<<30)
	running := w.come("a", 0, 10, 1000)
	w.step()
	long := w.come("a", 0, 32768, 10)
	w.step()
	for i := range 100 {
		if i%5 == 0 {
			w.come("b", 0, 200, 20)
		}
		held, turns := long.held, w.jobs[running].turns
		w.step()
		if long.held-held < 64 || w.jobs[running].turns != turns+1 {
			t.Fatalf("step %d: %d tokens of the long prompt, %d of the running one", w.steps, long.held-held, w.jobs[running].turns-turns)
		}
	}
	for j, l := range w.jobs {
		if j.tenant == "b" && !l.first.IsZero() && l.first.Sub(l.came) > 3*300*time.Millisecond {
			t.Errorf("a short prompt took %v", l.first.Sub(l.came))
		}
	}
}
