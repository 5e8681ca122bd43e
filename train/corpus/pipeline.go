package corpus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// The way from files to shards: one goroutine reads, several tokenise, one writes in the order of reading. What lies
// between them is bounded: a few jobs a thread, each of a piece or so.
//
//	read ─ order ──────────────────┐
//	  └─── work ─ tokenise, done ─ write

const (
	jobBytes  = 256 << 10 // of text, or one piece
	jobPieces = 1 << 12
)

// job is some pieces that are tokenised together.
type job struct {
	pieces []piece
	inputs []int // by piece: the file it is from
	bytes  int
	read   int64 // bytes of the whole input that had been read
	final  bool  // nothing follows: the reader came to the end
	ids    []int32
	ends   []int // by piece: where its ids end
	err    error
	done   chan struct{} // closed when ids, ends and err are there
}

// write brings the documents from about.Next on into shards in folder work, and keeps about, and the journal, as they are.
func write(ctx context.Context, work string, o Options, inputs []input, about *manifest) error {
	group, ctx := errgroup.WithContext(ctx)
	todo := make(chan *job, 2*o.Threads)
	order := make(chan *job, 2*o.Threads)
	from := *about.Next
	group.Go(func() error {
		defer close(todo)
		defer close(order)
		return readAll(ctx, o, inputs, from, func(j *job) error {
			for _, to := range []chan *job{order, todo} {
				select {
				case to <- j:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			return nil
		})
	})
	for range o.Threads {
		group.Go(func() error {
			for j := range todo { // ends with the reader
				j.tokenise(o.Vocabulary)
				close(j.done)
			}
			return nil
		})
	}
	group.Go(func() error {
		var total int64
		for _, in := range inputs {
			total += in.size
		}
		w := &setWriter{work: work, options: o, about: about, at: from}
		err := w.run(ctx, order, total)
		if w.shard != nil {
			err = errors.Join(err, w.shard.abandon())
		}
		return err
	})
	return group.Wait()
}

// readAll makes jobs of the documents from a place on.
func readAll(ctx context.Context, o Options, inputs []input, from place, emit func(*job) error) error {
	var read atomic.Int64
	for i := range from.Input {
		read.Add(inputs[i].size)
	}
	j := &job{done: make(chan struct{})}
	flush := func() error {
		j.read = read.Load()
		err := emit(j)
		j = &job{done: make(chan struct{})}
		return err
	}
	for i := from.Input; i < len(inputs); i++ {
		skip := uint64(0)
		if i == from.Input {
			skip = from.Document
		}
		r, err := openReader(inputs[i], o, func(n int64) { read.Add(n) })
		if err != nil {
			return err
		}
		err = func() error {
			for {
				if err := context.Cause(ctx); err != nil {
					return err
				}
				p, err := r.next()
				if err != nil {
					return err
				}
				if skip > 0 {
					if p.last {
						skip--
					}
					continue
				}
				j.pieces, j.inputs, j.bytes = append(j.pieces, p), append(j.inputs, i), j.bytes+len(p.text)
				if j.bytes >= jobBytes || len(j.pieces) >= jobPieces {
					if err := flush(); err != nil {
						return err
					}
				}
			}
		}()
		if closing := r.Close(); errors.Is(err, io.EOF) {
			err = closing
		}
		if err != nil {
			return err
		}
	}
	j.final = true
	return flush()
}

// tokenise sets ids, ends and err.
func (j *job) tokenise(v *Vocabulary) {
	j.ids = make([]int32, 0, j.bytes/3)
	for _, p := range j.pieces {
		var err error
		if j.ids, err = v.TryEncode(j.ids, p.text, plain); err != nil && j.err == nil {
			j.err = err
		}
		j.ends = append(j.ends, len(j.ids))
	}
}

// setWriter appends documents to shards.
type setWriter struct {
	work    string
	options Options
	about   *manifest
	shard   *shardWriter
	at      place // of the open document
	begun   bool  // it has ids
}

func (w *setWriter) run(ctx context.Context, order <-chan *job, total int64) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var j *job
		var ok bool
		select {
		case j, ok = <-order:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if !ok {
			return nil // the reader failed, and says why: a document may be open
		}
		select {
		case <-j.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if j.err != nil {
			return fmt.Errorf("%s: %w", w.options.Path, j.err)
		}
		begin := 0
		for i, p := range j.pieces {
			if err := w.piece(j.inputs[i], p, j.ids[begin:j.ends[i]]); err != nil {
				return err
			}
			begin = j.ends[i]
		}
		if w.options.Progress != nil {
			w.options.Progress(j.read, total)
		}
		if j.final {
			return w.endShard()
		}
	}
}

// piece appends a piece's ids.
func (w *setWriter) piece(input int, p piece, ids []int32) error {
	if input != w.at.Input {
		w.at = place{Input: input}
	}
	w.about.Bytes += int64(len(p.text))
	if len(ids) > 0 {
		if w.shard == nil {
			if len(w.about.Shards) == maxShards {
				return fmt.Errorf("more than %d shards: %w", maxShards, ErrConfig)
			}
			var err error
			if w.shard, err = newShardWriter(filepath.Join(w.work, w.name()), w.options.Vocabulary); err != nil {
				return err
			}
		}
		if id := w.options.Vocabulary.Begin; !w.begun && id >= 0 {
			if err := w.shard.add([]int32{id}, false); err != nil {
				return err
			}
		}
		w.begun = true
		if err := w.shard.add(ids, false); err != nil {
			return err
		}
	}
	if !p.last {
		return nil
	}
	w.at.Document++
	if !w.begun {
		w.about.Empty++
		return nil
	}
	w.begun = false
	var end []int32
	if id := w.options.Vocabulary.End; id >= 0 {
		end = []int32{id}
	}
	if err := w.shard.add(end, true); err != nil {
		return err
	}
	if w.shard.tokens >= w.options.ShardTokens || len(w.shard.written) >= maxShardDocuments {
		return w.endShard()
	}
	return nil
}

// name is that of the open shard, or of the next.
func (w *setWriter) name() string { return fmt.Sprintf("shard-%05d.tok", len(w.about.Shards)) }

// endShard finishes the open shard, if there is one, and notes in the journal where to go on.
func (w *setWriter) endShard() error {
	if w.shard == nil {
		return nil
	}
	s := w.shard
	w.shard = nil
	if err := s.finish(); err != nil {
		return err
	}
	w.about.Shards = append(w.about.Shards, shardRow{w.name(), s.documents, s.tokens})
	w.about.Documents += s.documents
	w.about.Tokens += s.tokens
	next := w.at
	w.about.Next = &next
	return writeJSON(filepath.Join(w.work, journalName), w.about)
}
