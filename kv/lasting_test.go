package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"nosa/compute"
	"nosa/kv/vfs"
)

// lastingConfig is a store of few places whose disk tier lasts.
func lastingConfig(fs vfs.FS) Config {
	return Config{
		Layout: testLayout, Layers: 2, Blocks: 240, Slots: 9, HostPages: 12, Workers: 3, Retain: true,
		Disk: &Disk{FS: fs, Dir: "disk", Lasts: true}, Identity: []byte("a model"),
	}
}

// summaryOf is what a test keeps as a block's summary: it depends on its tokens alone.
func (q *testSequence) summaryOf(layer, head, number int) []byte {
	var b []byte
	l := q.s.cfg.Layout
	x := q.content(layer, head, q.tokens[:(number+1)*l.Block])
	for i := range q.s.cfg.summaryBytes() {
		b = append(b, byte(binary.LittleEndian.Uint16([]byte{byte(x[i%len(x)] * 100), byte(i)})%251))
	}
	return b
}

// checkSummaries says whether they are still right.
func (q *testSequence) checkSummaries() error {
	var err error
	q.everyBlock(0, q.full(), func(id int32, want []byte) {
		got := make([]byte, len(want))
		q.s.summary(id, got, q.s.dev.Download)
		if !bytes.Equal(got, want) {
			err = fmt.Errorf("block %d has another summary", q.s.blocks[id].number)
		}
	})
	return err
}

// everyBlock visits blocks from a number to another with the summaries that they should
// have.
func (q *testSequence) everyBlock(from, to int, f func(id int32, summary []byte)) {
	for layer := range q.s.cfg.Layers {
		for h, ids := range q.Tables(layer) {
			for n := from; n < to; n++ {
				f(ids[n], q.summaryOf(layer, h, n))
			}
		}
	}
}

// proved takes a prompt over from a store, and compares all that it gets.
func proved(s *Store, prompt []int32) (shared int, err error) {
	q, err := newTestSequence(s, SequenceOptions{Tokens: len(prompt), Prefix: prompt})
	if err != nil {
		return 0, err
	}
	defer q.Free()
	if err := q.checkSummaries(); err != nil {
		return 0, err
	}
	for layer := range s.cfg.Layers {
		s.BeginStep()
		if err := q.recall(context.Background(), layer, q.all(), nil); err != nil {
			return 0, err
		}
	}
	return q.Shared(), s.Check()
}

// life runs requests that share beginnings on a store that is too small for them all,
// and returns their prompts. stop, if not nil, ends it.
func life(t *testing.T, s *Store, seed uint64, steps int, stop func() bool) (prompts [][]int32) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	var live []*testSequence
	for range steps {
		if stop != nil && stop() {
			break
		}
		s.BeginStep()
		switch {
		case len(live) < 3:
			var prefix []int32
			if len(prompts) > 0 && r.IntN(3) > 0 {
				p := prompts[r.IntN(len(prompts))]
				prefix = slices.Clone(p[:r.IntN(len(p)+1)])
			}
			prefix = append(prefix, ids(r.IntN(5), 1+r.IntN(20))...)
			q, err := newTestSequence(s, SequenceOptions{Tokens: 60, Prefix: prefix[:min(len(prefix), 50)]})
			if err != nil {
				t.Fatal(err)
			}
			if err := q.checkSummaries(); err != nil {
				t.Fatal(err)
			}
			live = append(live, q)
		case r.IntN(6) == 0:
			at := r.IntN(len(live))
			prompts = append(prompts, live[at].tokens)
			live[at].Free()
			live = slices.Delete(live, at, at+1)
			continue
		}
		for _, q := range live {
			err := q.extend(t.Context(), ids(r.IntN(4), min(1+r.IntN(9), 60-q.Len())))
			if errors.Is(err, ErrFull) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for layer := range s.cfg.Layers {
				if err := q.recall(t.Context(), layer, q.all(), nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range live {
		prompts = append(prompts, q.tokens)
		q.Free()
	}
	return prompts
}

// TestLasting: what a store leaves on disk is found by the next one with the same
// settings, and by no other.
func TestLasting(t *testing.T) {
	fs := &vfs.Memory{}
	cfg := lastingConfig(fs)
	s := openTest(t, cfg)
	prompts := life(t, s, 1, 60, nil)
	for s.Save() {
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
	}
	was := s.Stats()
	closeTest(t, s)
	if was.Published == 0 || was.Published != was.Lasting {
		t.Fatalf("%d columns, of which %d will last", was.Published, was.Lasting)
	}
	for name, change := range map[string]func(*Config){
		"the same":         func(*Config) {},
		"fewer ids":        func(c *Config) { c.Blocks = 32 },
		"fewer records":    func(c *Config) { c.Disk.Records = 40 },
		"another model":    func(c *Config) { c.Identity = []byte("another") },
		"another layout":   func(c *Config) { c.Layout.Type = compute.KVF32 },
		"fewer layers":     func(c *Config) { c.Layers = 1 },
		"other summaries":  func(c *Config) { c.Layout.Scores = false },
		"more host memory": func(c *Config) { c.HostPages = 100 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := lastingConfig(fs.Copy())
			change(&cfg)
			s := openTest(t, cfg)
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			st, found := s.Stats(), 0
			for _, p := range prompts {
				n, err := proved(s, p)
				if err != nil {
					t.Fatal(err)
				}
				found += n
			}
			switch {
			case strings.HasPrefix(name, "another"), name == "fewer layers", name == "other summaries":
				if found > 0 || st.Published > 0 {
					t.Errorf("%d tokens and %d columns were taken over", found, st.Published)
				}
			case strings.HasPrefix(name, "fewer"):
				if found == 0 || st.Published == 0 || st.Published >= was.Published {
					t.Errorf("%d tokens and %d of %d columns were taken over", found, st.Published, was.Published)
				}
			default:
				if found == 0 || st.Published != was.Published {
					t.Errorf("%d tokens and %d of %d columns were taken over", found, st.Published, was.Published)
				}
			}
			life(t, s, 2, 60, nil)
			closeTest(t, s)
		})
	}
}

// TestLastingTwice: two processes in one directory would spoil it for each other.
func TestLastingTwice(t *testing.T) {
	fs := &vfs.Memory{}
	s := openTest(t, lastingConfig(fs))
	if _, err := Open(compute.Reference{}, lastingConfig(fs), nil); !errors.Is(err, vfs.ErrInUse) || !errors.Is(err, ErrDisk) {
		t.Error(err)
	}
	closeTest(t, s)
}

// tap is a file system that copies itself at one of its writes, as the next process
// would find it if this one ended there.
type tap struct {
	*vfs.Memory
	mu     sync.Mutex
	writes int
	at     int // the write at which it is copied; −1: never
	half   bool
	copied *vfs.Memory
}

func (f *tap) Open(dir, name string, direct bool) (vfs.File, error) {
	file, err := f.Memory.Open(dir, name, direct)
	return &tappedFile{file, f}, err
}

type tappedFile struct {
	vfs.File
	tap *tap
}

// WriteAt writes half of what it is told, or nothing, before the copy is made, and the
// rest after it.
func (f *tappedFile) WriteAt(p []byte, off int64) (int, error) {
	f.tap.mu.Lock()
	defer f.tap.mu.Unlock()
	f.tap.writes++
	if f.tap.writes == f.tap.at {
		if f.tap.half {
			if n, err := f.File.WriteAt(p[:len(p)/2], off); err != nil {
				return n, err
			}
		}
		f.tap.copied = f.tap.Memory.Copy()
	}
	return f.File.WriteAt(p, off)
}

func (f *tap) ended() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.copied != nil
}

// TestKilled ends a store at any of its writes, before it or in the middle of it, and
// proves that the next one finds true columns alone, again and again.
func TestKilled(t *testing.T) {
	rounds := 400
	if testing.Short() {
		rounds = 40
	}
	found, shared := 0, 0
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 3))
		fs := &vfs.Memory{}
		var prompts [][]int32
		for range 3 { // lives, each of which ends at once
			f := &tap{Memory: fs, at: 1 + r.IntN(400), half: r.IntN(2) == 0}
			cfg := lastingConfig(f)
			cfg.Disk.Records = []int{0, 60}[r.IntN(2)]
			s := openTest(t, cfg)
			if err := s.Check(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			found += s.Stats().Published
			for _, p := range prompts {
				n, err := proved(s, p)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				shared += n
			}
			prompts = append(prompts, life(t, s, seed, 80, f.ended)...)
			for !f.ended() && s.Save() {
			}
			if !f.ended() { // it lives on until now
				f.copied = fs.Copy()
			}
			closeTest(t, s)
			fs = f.copied
		}
	}
	t.Logf("%d columns found, %d tokens taken over", found, shared)
	if found == 0 || shared == 0 {
		t.Error("nothing was ever found")
	}
}

// TestPowerLoss loses writes, in any order, and with them what the ledger says of them:
// the next store reads what it finds and takes over what is whole.
func TestPowerLoss(t *testing.T) {
	found := 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 9))
		fs := &vfs.Memory{}
		s := openTest(t, lastingConfig(fs))
		prompts := life(t, s, seed, 60, nil)
		for s.Save() {
		}
		name := s.name()
		copied := fs.Copy()
		closeTest(t, s)
		spoil(t, copied, name+".ledger", func(b []byte) {
			clear(b[len(ledgerMagic)+len(key{}) : headerBytes]) // another start of the machine
			if r.IntN(2) == 0 {
				lose(r, b[headerBytes:], 64)
			}
		})
		spoil(t, copied, name+".blocks", func(b []byte) { lose(r, b, 48) })
		s = openTest(t, lastingConfig(copied))
		if err := s.Check(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, p := range prompts {
			n, err := proved(s, p)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			found += n
		}
		closeTest(t, s)
	}
	if found == 0 {
		t.Error("nothing was ever found")
	}
}

// spoil changes a file that nobody has open.
func spoil(t *testing.T, fs *vfs.Memory, name string, change func([]byte)) {
	t.Helper()
	f, err := fs.Open("disk", name, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, _ := f.Size()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	change(b)
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// lose sets one part in ten to zero, or to what another part holds.
func lose(r *rand.Rand, b []byte, part int) {
	for at := 0; at+part <= len(b); at += part {
		switch r.IntN(20) {
		case 0:
			clear(b[at : at+part])
		case 1:
			from := r.IntN(len(b)/part) * part
			copy(b[at:at+part], b[from:from+part])
		}
	}
}

// TestForeignRecord: a record that is not what the ledger says fails the request that
// reads it, and nobody gets it after that. Its checksum alone would let it pass.
func TestForeignRecord(t *testing.T) {
	fs := &vfs.Memory{}
	s := openTest(t, lastingConfig(fs))
	prompts := life(t, s, 1, 60, nil)
	for s.Save() {
	}
	name := s.name()
	closeTest(t, s)
	spoil(t, fs, name+".blocks", func(b []byte) { b[len(b)/2] ^= 1 })
	s = openTest(t, lastingConfig(fs))
	for id := range s.blocks { // as if by chance
		if b := &s.blocks[id]; b.has(foreign) {
			page := make([]byte, s.cfg.RecordBytes())
			if err := s.disk.read(b.rec, page); err != nil {
				t.Fatal(err)
			}
			b.crc = crc32.Checksum(page[:s.cfg.Layout.BlockBytes()], checksum)
		}
	}
	before, failed := s.Stats().Published, 0
	for range 2 {
		for _, p := range prompts {
			_, err := proved(s, p)
			switch {
			case err == nil:
			case errors.Is(err, ErrCorrupt):
				failed++
			default:
				t.Fatal(err)
			}
		}
	}
	if after := s.Stats().Published; failed != 1 || after != before-1 {
		t.Errorf("%d requests failed, %d columns of %d are left", failed, after, before)
	}
	closeTest(t, s)
}

// TestLedgerFails: where the ledger can not be written, requests go on; what is found
// later is true.
func TestLedgerFails(t *testing.T) {
	for at := range 40 {
		fs := &vfs.Memory{}
		writes := 0
		var log bytes.Buffer
		faulty := &vfs.Faults{FS: fs, Plan: func(op vfs.Op) vfs.Fault {
			if op.Write && op.Len != testLayout.BlockBytes() {
				if writes++; writes > at+1 { // the header is the first
					return []vfs.Fault{vfs.WriteError, vfs.NoSpace}[at%2]
				}
			}
			return vfs.None
		}}
		s, err := Open(compute.Reference{}, lastingConfig(faulty), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		prompts := life(t, s, uint64(at), 60, nil)
		for s.Save() {
		}
		closeTest(t, s)
		if n := strings.Count(log.String(), "will not outlast"); n != 1 {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
		s = openTest(t, lastingConfig(fs))
		for _, p := range prompts {
			if _, err := proved(s, p); err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
		}
		closeTest(t, s)
	}
}

// FuzzLedger opens a store over a ledger that has been changed: edits are an offset, in
// two bytes, and what to flip there. Signed again, entries that are wrong look right.
func FuzzLedger(f *testing.F) {
	fs := &vfs.Memory{}
	s := openTest(f, lastingConfig(fs))
	q, err := newTestSequence(s, SequenceOptions{Tokens: 40})
	if err == nil {
		err = q.extend(f.Context(), ids(0, 40))
	}
	if err != nil {
		f.Fatal(err)
	}
	name, settings := s.name(), s.settings()
	for s.Save() {
	}
	q.Free()
	closeTest(f, s)
	read := func(name string) []byte {
		file, err := fs.Open("disk", name, false)
		if err != nil {
			f.Fatal(err)
		}
		defer file.Close()
		n, _ := file.Size()
		b := make([]byte, n)
		if _, err := file.ReadAt(b, 0); err != nil {
			f.Fatal(err)
		}
		return b
	}
	entries, blocks := read(name + ".ledger")[headerBytes:], read(name+".blocks")
	f.Add([]byte{}, uint16(0), false)
	f.Add([]byte{40, 0, 1, 200, 1, 9}, uint16(0), true)
	f.Add([]byte{0, 1, 1}, uint16(100), false)
	f.Add([]byte{32 + 64 + 8, 0, 1}, uint16(0), true)
	f.Fuzz(func(t *testing.T, edits []byte, cut uint16, resign bool) {
		fs, entries := &vfs.Memory{}, slices.Clone(entries[:max(0, len(entries)-int(cut))])
		for ; len(edits) >= 3 && len(entries) > 0; edits = edits[3:] {
			entries[int(binary.LittleEndian.Uint16(edits))%len(entries)] ^= edits[2]
		}
		head, constant := header(settings, bootID())
		l := newLedger(nil, 4, lastingConfig(fs).summaryBytes())
		l.head = digestOf(head[:constant])
		for n := int32(0); resign && int(n+1)*l.size <= len(entries); n++ { // so that what is wrong is what they say
			b := entries[int(n)*l.size:][:l.size]
			sum := l.digest(n, b)
			copy(b, sum[:])
		}
		for name, b := range map[string][]byte{name + ".ledger": append(head, entries...), name + ".blocks": blocks} {
			file, err := fs.Open("disk", name, false)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteAt(b, 0); err != nil {
				t.Fatal(err)
			}
			file.Close()
		}
		s := openTest(t, lastingConfig(fs))
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		if !resign {
			if _, err := proved(s, ids(0, 41)); err != nil {
				t.Fatal(err)
			}
		}
		closeTest(t, s)
	})
}
