package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"nosa/compute"
	"nosa/kv"
)

// Service runs requests side by side on one engine, which is its own from NewService
// to Close. Its methods may be called from any goroutine.
//
//	Submit ──▶ incoming ──▶ scheduler ──▶ Engine.Step ──▶ Answer.Next
//	                            ▲              │
//	                            └── one goroutine owns them
//
// A request gets the same tokens in any company: see Step.
type Service struct {
	e   *Engine
	set ServiceOptions
	log *slog.Logger

	mu       sync.Mutex
	incoming []*Answer     // that the loop has not seen
	leaving  []*Answer     // that nobody wants any more
	looks    []func()      // of those who want to know how it is
	open     int           // that have not ended
	refuses  error         // why no more are taken
	idle     chan struct{} // closed when none is open, if somebody waits for that
	wake     chan struct{}
	cancel   context.CancelCauseFunc
	ended    chan struct{}

	// Of the loop alone.
	sched scheduler
	runs  map[*job]*run
	parts []Part
	turns []*run // by part
	steps int64
	rows  int64 // of them
	drawn int64 // tokens of answers

	untold []told // events of the last step

	watched time.Time // when somebody has last looked at blocks; zero: nobody does
}

// ServiceOptions say how requests share an engine. Seats are the engine's.
type ServiceOptions struct {
	// Queue is the most requests that have not ended; 0: 1024.
	Queue int
	// Piece is the most tokens of prompts in a step in which others are decoded: what
	// they may have to wait for; 0: half of the engine's Chunk.
	Piece int
	// Patience is how long a request waits until it counts as one of the next higher
	// priority; 0: 30 s.
	Patience time.Duration
}

var (
	// ErrBusy is returned by Submit while as many requests are open as may be.
	ErrBusy = errors.New("too many requests are open")
	// ErrDraining is returned by Submit after Drain or Close.
	ErrDraining = errors.New("no more requests are taken")
	// ErrCancelled is what a cancelled request ends with.
	ErrCancelled = errors.New("the request was cancelled")
)

// Order is a request with what concerns others beside it.
type Order struct {
	Request // Progress, Emit and OnToken are not used
	// Choices is how many continuations there shall be, which share the prompt; 0: 1.
	// The i-th draws with the seed Sampling.Seed + i.
	Choices  int
	ID       string // by which others know it, such as Blocks
	Tenant   string // whose share of the machine it takes
	Priority int    // the higher goes first
	// PromptLogProbs asks for the log-probabilities of the prompt's tokens as well.
	// Nothing of the prompt is taken over from others then.
	PromptLogProbs bool
	// Embed asks for a vector instead of text: Answer.Vector.
	Embed Pooling
}

// whole reports whether the model must see all of the prompt, and nothing of it be taken
// over from others.
func (o *Order) whole() bool { return o.PromptLogProbs || o.Embed == PoolMean }

// maxChoices is the most continuations of a request.
const maxChoices = 128

// NewService starts a service.
func NewService(e *Engine, o ServiceOptions, log *slog.Logger) *Service {
	if o.Queue == 0 {
		o.Queue = 1024
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.Piece == 0 {
		o.Piece = max(1, e.set.Chunk/2)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &Service{
		e: e, set: o, log: log, wake: make(chan struct{}, 1), cancel: cancel, ended: make(chan struct{}), runs: map[*job]*run{},
		sched: scheduler{seats: max(1, min(e.set.Seats, e.Rows()-1)), rows: e.Rows(), piece: o.Piece, patience: o.Patience},
	}
	s.sched.later = s.later
	go s.loop(ctx)
	return s
}

// Submit queues a request. It ends when ctx does, unless it has ended before.
func (s *Service) Submit(ctx context.Context, o Order) (*Answer, error) {
	if o.Choices == 0 {
		o.Choices = 1
	}
	if o.Choices < 0 || o.Choices > maxChoices {
		return nil, fmt.Errorf("%w: %d choices: want 1 to %d", ErrOptions, o.Choices, maxChoices)
	}
	if err := s.e.check(&o.Request); err != nil {
		return nil, err
	}
	if err := o.Embed.check(&o); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	a := &Answer{s: s, o: o, ready: make(chan struct{}, 1), left: o.Choices, came: time.Now()}
	a.usage.Prompt = len(o.IDs)
	if o.PromptLogProbs {
		a.prompt = []Token{{ID: o.IDs[0], LogProb: math.NaN()}}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refuses != nil:
		return nil, s.refuses
	case s.open >= s.set.Queue:
		return nil, fmt.Errorf("%w: %d", ErrBusy, s.open)
	}
	s.open++
	s.incoming = append(s.incoming, a)
	s.poke()
	a.watch = context.AfterFunc(ctx, func() { a.cancel(context.Cause(ctx)) })
	return a, nil
}

// poke wakes the loop.
func (s *Service) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Drain takes no more requests and returns when those that are open have ended, or
// with ctx's cause when that ends first.
func (s *Service) Drain(ctx context.Context) error {
	s.mu.Lock()
	if s.refuses == nil {
		s.refuses = ErrDraining
	}
	if s.open == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends the requests that are open, with ErrCancelled, and then the service. The
// engine is the caller's again.
func (s *Service) Close() {
	s.mu.Lock()
	s.refuses = ErrDraining
	s.mu.Unlock()
	s.cancel(ErrCancelled)
	<-s.ended
}

// State is how a service stands between two steps.
type State struct {
	Running int // choices that have a seat
	Waiting int // that have none yet
	Paused  int // that had one
	Steps   int64
	Rows    int64 // tokens of all steps
	Drawn   int64 // tokens of answers
	Store   kv.Stats
}

// state is the loop's.
func (s *Service) state() State {
	st := State{Running: len(s.sched.running), Steps: s.steps, Rows: s.rows, Drawn: s.drawn, Store: s.e.store.Stats()}
	for _, j := range s.sched.waiting {
		if j.opened {
			st.Paused++
		} else {
			st.Waiting++
		}
	}
	return st
}

// run is one choice of a request, with its place in the scheduler.
type run struct {
	job
	*choice
	a     *Answer
	index int
	s     *Stream  // nil: not seated yet
	next  [1]int32 // drawn, not in the stream yet
	told  int      // tokens that the answer has been told
	ahead *run     // whose prompt it waits for; nil: none
	alike int      // tokens with which both prompts begin, in whole blocks
	pool  pool     // of an order for a vector
	err   error
}

// told is an event that is on its way to an answer.
type told struct {
	a *Answer
	e Event
}

// tell hands over what the last step came to. That is done beside the next one, since it wakes
// those who wait.
func (s *Service) tell() {
	for i := range s.untold {
		s.untold[i].a.tell(s.untold[i].e)
		s.untold[i] = told{}
	}
	s.untold = s.untold[:0]
}

// loop owns the engine.
func (s *Service) loop(ctx context.Context) {
	defer close(s.ended)
	s.e.beside = s.tell
	defer func() { s.e.beside = nil }()
	for s.takeIn(ctx) {
		s.step(ctx)
	}
	for _, r := range s.runs {
		s.fail(r.a, context.Cause(ctx))
	}
}

// saveEvery is how often a store at rest goes on with what it writes for the next
// process.
const saveEvery = 5 * time.Millisecond

// takeIn takes new requests in and lets cancelled ones go. It waits while there is
// nothing to do, and reports false when the service ends.
func (s *Service) takeIn(ctx context.Context) bool {
	for {
		s.mu.Lock()
		incoming, leaving, looks := s.incoming, s.leaving, s.looks
		s.incoming, s.leaving, s.looks = nil, nil, nil
		s.mu.Unlock()
		for _, a := range incoming {
			s.begin(a, 0)
		}
		for _, a := range leaving {
			s.fail(a, a.why())
		}
		for _, l := range looks {
			l()
		}
		s.unwatch()
		if ctx.Err() != nil {
			return false
		}
		if len(s.runs) > 0 {
			return true
		}
		var save <-chan time.Time
		if s.e.set.DiskLast && s.e.store.Save() {
			save = time.After(saveEvery)
		}
		select {
		case <-s.wake:
		case <-save:
		case <-ctx.Done():
		}
	}
}

// begin queues a choice of a request.
func (s *Service) begin(a *Answer, index int) {
	r := &run{a: a, index: index, choice: s.e.newChoice(&a.o.Request, a.o.Sampling.Seed+uint64(index))}
	r.job = job{tenant: a.o.Tenant, priority: a.o.Priority, prompt: len(a.o.IDs), most: len(a.o.IDs) + a.o.MaxTokens}
	s.runs[&r.job] = r
	a.runs = append(a.runs, r)
	s.sched.add(&r.job, time.Now())
}

// seat gives a run its stream, and reports whether there is room for one.
func (s *Service) seat(j *job) bool {
	r := s.runs[j]
	o := kv.SequenceOptions{Tokens: j.most, Prefix: r.a.o.IDs, Salt: r.a.o.Salt, Promise: true}
	if r.a.o.whole() && r.index == 0 {
		o.Prefix = nil
	}
	stream, err := s.e.stream(o, r.a.o.IDs)
	if err != nil {
		if !errors.Is(err, kv.ErrFull) {
			r.err = err
		}
		return false
	}
	r.s, j.held = stream, stream.Len()
	if r.index == 0 {
		r.a.seated(stream.Shared())
	}
	return true
}

// step runs one step of the engine.
func (s *Service) step(ctx context.Context) {
	turns := s.sched.step(time.Now(), s.seat)
	for _, j := range s.sched.waiting {
		if j.opened { // it was paused: others have more use for its place
			s.runs[j].s.seq.Rise()
		}
	}
	for _, r := range s.runs {
		if r.err != nil {
			s.fail(r.a, r.err)
			return
		}
	}
	if len(turns) == 0 {
		s.tell()
		// Blocks are on their way out of the store: look again soon.
		select {
		case <-s.wake:
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
		}
		return
	}
	s.parts, s.turns = s.parts[:0], s.turns[:0]
	for _, t := range turns {
		r := s.runs[t.job]
		p := Part{Stream: r.s}
		if t.held < t.prompt {
			p.IDs, p.Prompt = r.a.o.IDs[t.held:t.held+t.tokens], true
			switch {
			case r.a.o.Embed != "":
				p.Want, p.Hidden = r.a.o.Embed.wants(t.tokens, t.held+t.tokens == t.prompt), true
			case r.a.o.PromptLogProbs && r.index == 0:
				p.Want = len(p.IDs)
			case t.held+t.tokens == t.prompt && r.finish == "":
				p.Want, p.choice = 1, r.choice
			}
		} else {
			p.IDs, p.Want, p.choice = r.next[:], 1, r.choice
		}
		s.parts, s.turns = append(s.parts, p), append(s.turns, r)
	}
	err := s.e.run(ctx, s.parts, func(i, at int, v said) error { return s.turns[i].hear(at, v) })
	s.blame(err)
	s.steps++
	for i, r := range s.turns {
		s.rows += int64(len(s.parts[i].IDs))
		r.held = r.s.Len()
		switch {
		case s.runs[&r.job] == nil: // ended with another choice of its request
		case r.err != nil:
			s.fail(r.a, r.err)
		default:
			if r.index == 0 && r.held >= r.prompt && len(r.a.runs) < r.a.o.Choices {
				for i := 1; i < r.a.o.Choices; i++ { // take the prompt's blocks over
					s.begin(r.a, i)
				}
			}
			if r.held >= r.prompt && r.finish != "" {
				s.finish(r)
			}
		}
	}
}

// blame says what went wrong in a step to those whom it concerns.
func (s *Service) blame(err error) {
	if err == nil {
		return
	}
	s.log.Warn("a step failed", "error", err)
	var step *StepError
	if errors.As(err, &step) {
		for _, f := range step.Failed {
			s.turns[f.Index].err = f.Err
		}
		return
	}
	for _, r := range s.turns {
		r.err = err
	}
}

// hear takes what follows a token of a run's part in a step, or its hidden state.
func (r *run) hear(at int, s said) error {
	pos := r.held + at
	o := &r.a.o
	if o.Embed != "" {
		r.pool.add(s.v)
		return nil
	}
	if pos < r.prompt-1 {
		softmax, id := compute.NewSoftmax(s.v), o.IDs[pos+1]
		r.a.promptToken(Token{id, softmax.LogProb(s.v[id]), topLogProbs(&r.e.drawer(0).sampler, softmax, s.v, o.TopLogProbs)})
		return nil
	}
	if r.finish != "" { // nothing is to be generated
		return nil
	}
	t, text, err := r.take(s, pos)
	if err != nil {
		return err
	}
	e := Event{Choice: r.index, Text: text, Finish: r.finish}
	if r.tokens > r.told {
		r.a.s.drawn += int64(r.tokens - r.told)
		r.told = r.tokens
		r.next[0] = t.ID
		e.Tokens = []Token{t}
	} else if o.LogProbs {
		e.End = &t
	}
	r.a.s.untold = append(r.a.s.untold, told{r.a, e})
	return nil
}

// finish ends a run that has come to its end.
func (s *Service) finish(r *run) {
	s.tell()
	if r.a.o.Embed != "" {
		v, err := r.pool.vector()
		if err != nil {
			s.fail(r.a, err)
			return
		}
		r.a.embedded(v)
	}
	held := r.s.Stats()
	s.end(r)
	if r.a.o.MaxTokens == 0 {
		r.a.tell(Event{Choice: r.index, Finish: r.finish})
	}
	stats := r.s.Stats()
	stats.Live, stats.InSlot, stats.InHost, stats.OnDisk = held.Live, held.InSlot, held.InHost, held.OnDisk
	if r.a.finished(stats) {
		s.closed(r.a)
	}
}

// end frees what a run holds.
func (s *Service) end(r *run) {
	s.sched.remove(&r.job)
	delete(s.runs, &r.job)
	if r.s != nil {
		r.s.Close()
	}
}

// fail ends all of a request.
func (s *Service) fail(a *Answer, err error) {
	s.tell()
	for _, r := range a.runs {
		if s.runs[&r.job] != nil {
			s.end(r)
		}
	}
	if a.failed(err) {
		s.closed(a)
	}
}

// closed counts a request that has ended.
func (s *Service) closed(a *Answer) {
	a.watch()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open--; s.open == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}
