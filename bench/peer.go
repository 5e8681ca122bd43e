package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrPeer is returned when the program that we are compared with cannot be run, or
// says something that cannot be understood.
var ErrPeer = errors.New("the peer failed")

// Peer runs llama.cpp's llama-bench, and its llama-batched-bench for batches, a
// process for each measurement, so that its runs can alternate with ours.
type Peer struct {
	Path    string // llama-bench
	Batched string // llama-batched-bench beside it; "": batches are not compared
	Model   string // the GGUF file
	Threads int
	Flash   []int // settings of flash attention to run: 0, 1 or both
	Timeout time.Duration

	// DeepRuns is the number of processes for a test at DeepFrom tokens and more,
	// where the way to the depth takes much longer than what is measured there: the
	// same number of samples then comes from fewer processes, each of which goes
	// down once. 0: one process for each sample.
	DeepRuns int
	DeepFrom int

	version string
	ended   map[[2]int]Test // by flash and kind: the shallowest test that it did not survive
}

// DeepFrom is the usual depth from which the peer's runs are fewer.
const DeepFrom = 8192

// FindPeer looks for llama-bench: path is the program, or its folder.
func FindPeer(path string) (*Peer, error) {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		path = filepath.Join(path, "llama-bench")
		info, err = os.Stat(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s: there is no such program: name llama-bench of a build of llama.cpp", ErrPeer, path)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrPeer, err)
	case info.IsDir() || info.Mode().Perm()&0o111 == 0:
		return nil, fmt.Errorf("%w: %s: is no program: name llama-bench of a build of llama.cpp", ErrPeer, path)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	p := &Peer{Path: path, Flash: []int{0, 1}, Timeout: time.Hour, DeepFrom: DeepFrom}
	batched := filepath.Join(filepath.Dir(path), "llama-batched-bench")
	if info, err := os.Stat(batched); err == nil && !info.IsDir() {
		p.Batched = batched
	}
	return p, nil
}

// Name is the program's, without its folder.
func (p *Peer) Name() string { return filepath.Base(p.Path) }

// Version names the program and, once it has said so, its build.
func (p *Peer) Version() string { return strings.TrimSpace(p.Name() + " " + p.version) }

// runs tells whether the peer has such a test.
func (p *Peer) runs(t Test) bool { return t.Batch == 1 || p.Batched != "" }

// deep tells whether a test is one whose way down is expensive.
func (p *Peer) deep(t Test) bool { return p.DeepRuns > 0 && t.Depth+t.Prompt >= p.DeepFrom }

// repetitions is how many samples the process behind our run i is to take, out of
// all; 0: there is none.
func (p *Peer) repetitions(t Test, i, all int) int {
	switch {
	case !p.deep(t) || t.Batch > 1 || p.DeepRuns >= all: // the batched one takes one sample a process
		return 1
	case i >= p.DeepRuns:
		return 0
	}
	n := all / p.DeepRuns
	if i < all%p.DeepRuns {
		n++
	}
	return n
}

// give ends a setting, for this test and those that are no easier.
func (p *Peer) give(t Test, flash int) {
	if p.ended == nil {
		p.ended = map[[2]int]Test{}
	}
	p.ended[kind(t, flash)] = t
}

// given tells whether a setting was ended by this test or an easier one.
func (p *Peer) given(t Test, flash int) bool {
	end, ok := p.ended[kind(t, flash)]
	return ok && t.Depth+t.Prompt >= end.Depth+end.Prompt && t.Batch >= end.Batch
}

func kind(t Test, flash int) [2]int {
	switch {
	case t.Prompt > 0:
		return [2]int{flash, 0}
	case t.Batch == 1:
		return [2]int{flash, 1}
	}
	return [2]int{flash, 2}
}

// Run measures a test so many times in one process and returns tokens per second,
// and what other programs took of the machine meanwhile.
func (p *Peer) Run(ctx context.Context, t Test, flash, repeat int) (samples []float64, others share, err error) {
	path, args := p.Path, p.arguments(t, flash, repeat)
	if t.Batch > 1 {
		path, args = p.Batched, p.batchedArguments(t, flash)
	}
	what := fmt.Sprintf("%s %s", filepath.Base(path), strings.Join(args, " "))
	limited, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, path, args...)
	cmd.WaitDelay = time.Second // for what a killed peer has started and left behind
	var out, errs bounded
	cmd.Stdout, cmd.Stderr = &out, &errs
	clock := now()
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, others, context.Cause(ctx)
	case limited.Err() != nil:
		return nil, others, fmt.Errorf("%w: %s: no answer after %s, ended: raise --peer-timeout or leave out this test", ErrPeer, what, p.Timeout)
	case err != nil:
		return nil, others, fmt.Errorf("%w: %s: %w: %s", ErrPeer, what, err, errs.lastLine())
	case out.over:
		return nil, others, fmt.Errorf("%w: %s: wrote more than %d bytes", ErrPeer, what, mostOutput)
	}
	others = clock.since(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime())
	if t.Batch > 1 {
		samples, err = parseBatched(out.Bytes(), t)
	} else {
		samples, err = p.parse(out.Bytes(), t, repeat)
	}
	if err != nil {
		return nil, others, fmt.Errorf("%w: %s: %w", ErrPeer, what, err)
	}
	return samples, others, nil
}

// arguments are llama-bench's. Its warm-up run of a long prompt takes as long as
// what is measured and warms nothing that the first part has not.
func (p *Peer) arguments(t Test, flash, repeat int) []string {
	args := []string{"-m", p.Model, "-t", strconv.Itoa(p.Threads), "-p", strconv.Itoa(t.Prompt), "-n", strconv.Itoa(t.Gen),
		"-d", strconv.Itoa(t.Depth), "-fa", strconv.Itoa(flash), "-r", strconv.Itoa(repeat), "-o", "json"}
	if t.Prompt >= p.DeepFrom {
		args = append(args, "--no-warmup")
	}
	return args
}

// batchedArguments are llama-batched-bench's, which fills its depth as prompts of
// their own and cannot do without.
func (p *Peer) batchedArguments(t Test, flash int) []string {
	depth := max(t.Depth, 1)
	n := strconv.Itoa
	return []string{"-m", p.Model, "-t", n(p.Threads), "-npp", n(depth), "-ntg", n(t.Gen), "-npl", n(t.Batch),
		"-c", n(t.Batch * (depth + t.Gen)), "-b", "2048", "-ub", "512", "-fa", n(flash), "--output-format", "jsonl"}
}

// mostOutput bounds what is kept of a peer's output.
const mostOutput = 4 << 20

// bounded keeps the first mostOutput bytes.
type bounded struct {
	bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := mostOutput - b.Len()
	b.over = b.over || len(p) > room
	b.Buffer.Write(p[:min(len(p), room)]) // never fails
	return len(p), nil
}

// lastLine is what a program usually says why it stopped.
func (b *bounded) lastLine() string {
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	if len(line) > 300 {
		line = strings.ToValidUTF8(line[:300], "") + "…"
	}
	return line
}
