package hub

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options narrow or widen what Pull brings.
type Options struct {
	Revision string   // branch, tag or commit, as owner/model@revision says too; "": main
	Include  []string // patterns (path.Match over the whole path) of the files to bring instead of the usual ones
}

// Progress is one step of a pull. Files that were there already count as done.
type Progress struct {
	File        string // the file that moved
	Done, Size  int64  // its bytes
	Got, Total  int64  // bytes of all files
	Here, Files int    // files that are whole, and all of them
}

// Pull brings a model into the store and returns what to open: the folder, or the file for owner/model:file.gguf. What
// is there and right is not fetched again; what an earlier pull left unfinished is continued. progress, if not nil, is
// called often, from one goroutine at a time.
//
// On any error the store holds what was verified before, and nothing else under a final name.
func (c *Client) Pull(ctx context.Context, name string, opts Options, progress func(Progress)) (string, error) {
	r, err := ParseRef(name)
	if err != nil {
		return "", err
	}
	if opts.Revision != "" {
		if !validRevision(opts.Revision) || r.Revision != defaultRevision && r.Revision != opts.Revision {
			return "", fmt.Errorf("hub: %s with revision %q: not one branch, tag or commit: %w", r, clip(opts.Revision), ErrName)
		}
		r.Revision = opts.Revision
	}
	if r.File != "" && len(opts.Include) > 0 {
		return "", fmt.Errorf("hub: %s names its file: patterns beside it say nothing: %w", r, ErrName)
	}
	dir := filepath.Join(c.cfg.Dir, modelsDir, r.Owner, r.Name)
	p := &pull{c: c, ref: r, progress: progress}
	found, err := p.run(ctx, dir, opts)
	if err != nil {
		return "", fmt.Errorf("hub: pull %s: %w", r, c.diskError(err))
	}
	return found, nil
}

// pull is the state of one call of Pull.
type pull struct {
	c    *Client
	ref  Ref
	root *os.Root // the model's folder in the store: nothing is written outside

	mu       sync.Mutex // guards what follows, which downloads share
	rec      *record
	twins    []*record // of other commits: a file that they have too need not come again
	progress func(Progress)
	at       Progress
	done     map[string]int64
}

func (p *pull) run(ctx context.Context, dir string, opts Options) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the store (NOSA_HOME names another place): %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer release(root)
	p.root = root
	unlock, err := p.c.lock(ctx, root, p.ref.Model())
	if err != nil {
		return "", err
	}
	defer unlock()

	if found, ok := p.pinned(dir, opts); ok {
		return found, nil
	}
	p.warnPlain(ctx)
	m, err := p.c.manifest(ctx, p.ref)
	if err != nil {
		return "", err
	}
	p.load(ctx, m.Commit)
	if err := root.MkdirAll(partialDir, 0o755); err != nil {
		return "", err
	}
	files, err := m.choose(p.ref, opts.Include, func(f File) ([]string, error) { return p.index(ctx, f) })
	if err != nil {
		return "", err
	}
	if err := p.fetchAll(ctx, files); err != nil {
		return "", err
	}
	return p.publish(dir, files)
}

// pinned answers without the network when a commit, which can not change, is here already.
func (p *pull) pinned(dir string, opts Options) (string, bool) {
	if !commitPattern.MatchString(p.ref.Revision) || len(opts.Include) > 0 {
		return "", false
	}
	rec, err := readRecord(p.root, p.ref.Revision)
	if err != nil || rec == nil || !rec.intact(p.root) {
		return "", false
	}
	open, ok := rec.open(p.ref.File)
	return filepath.Join(dir, rec.Commit, filepath.FromSlash(open)), ok
}

// warnPlain says so when the token would cross a network in the clear.
func (p *pull) warnPlain(ctx context.Context) {
	e := p.c.endpoint
	if ip := net.ParseIP(e.Hostname()); p.c.cfg.Token != "" && e.Scheme == "http" && e.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		p.c.log.LogAttrs(ctx, slog.LevelWarn, "the token is sent unencrypted: use an https endpoint", slog.String("endpoint", e.String()))
	}
}

// load reads what the store knows. A damaged record is left behind: its files are hashed and entered anew.
func (p *pull) load(ctx context.Context, commit string) {
	rec, err := readRecord(p.root, commit)
	if err != nil {
		p.c.log.LogAttrs(ctx, slog.LevelWarn, "record is damaged, checking the files again", slog.String("error", err.Error()))
	}
	if rec == nil {
		rec = &record{Commit: commit}
	}
	p.rec = rec
	p.twins = readTwins(p.root, commit)
}

// index fetches the list of shards and reads it.
func (p *pull) index(ctx context.Context, f File) ([]string, error) {
	f, err := p.declared(ctx, f)
	if err != nil {
		return nil, err
	}
	if f.Size > maxIndex {
		return nil, fmt.Errorf("%s: %s, want at most %s: %w", f.Path, sizeText(f.Size), sizeText(maxIndex), ErrProtocol)
	}
	if err := p.c.room(p.missing(f)); err != nil {
		return nil, err
	}
	if err := p.fetch(ctx, f); err != nil {
		return nil, err
	}
	b, err := readSmall(p.root, path.Join(p.rec.Commit, f.Path), maxIndex)
	if err != nil {
		return nil, err
	}
	return parseIndex(b)
}

// fetchAll brings the files, a few at a time. The first error ends them all; what has arrived stays for the next pull.
func (p *pull) fetchAll(ctx context.Context, files []File) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.c.cfg.Parallel)
	declared := make([]File, len(files))
	for i, f := range files {
		g.Go(func() (err error) {
			declared[i], err = p.declared(gctx, f)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var need, total int64
	for _, f := range declared {
		need += p.missing(f)
		total += f.Size
	}
	if err := p.c.room(need); err != nil {
		return err
	}
	p.mu.Lock()
	p.at = Progress{Total: total, Files: len(declared)}
	p.done = make(map[string]int64, len(declared))
	p.mu.Unlock()

	// Large files first: a small one beside the last large one costs nothing, the other way round it waits.
	slices.SortStableFunc(declared, func(a, b File) int { return int(min(max(b.Size-a.Size, -1), 1)) })
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(p.c.cfg.Parallel)
	for _, f := range declared {
		g.Go(func() error { return p.fetch(gctx, f) })
	}
	return g.Wait()
}

// publish makes the pull visible: the record first, then the revision that points to it.
func (p *pull) publish(dir string, files []File) (string, error) {
	p.rec.Folder = p.rec.Folder || slices.ContainsFunc(files, func(f File) bool { return f.Path == "config.json" })
	if err := writeRecord(p.root, p.rec); err != nil {
		return "", fmt.Errorf("write the record: %w", err)
	}
	if err := writeRef(p.root, p.ref.Revision, p.rec.Commit); err != nil {
		return "", fmt.Errorf("write the revision: %w", err)
	}
	sweep(p.root, time.Now())
	open, ok := p.rec.open(p.ref.File)
	if !ok {
		open = "." // patterns chose files that can not be opened by themselves: their folder is what there is
	}
	return filepath.Join(dir, p.rec.Commit, filepath.FromSlash(open)), nil
}

// report tells how far a file is. Bytes may go back when a download starts anew.
func (p *pull) report(f File, done int64, whole bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil || p.progress == nil {
		return
	}
	p.at.Got += done - p.done[f.Path]
	p.done[f.Path] = done
	if whole {
		p.at.Here++
	}
	p.at.File, p.at.Done, p.at.Size = f.Path, done, f.Size
	p.progress(p.at)
}

// readTwins reads the records of the model's other commits; a damaged one just has nothing to share.
func readTwins(root *os.Root, commit string) []*record {
	dir, err := root.Open(".")
	if err != nil {
		return nil
	}
	defer release(dir)
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var twins []*record
	for _, n := range names {
		other, ok := strings.CutSuffix(n, ".json")
		if !ok || other == commit || !commitPattern.MatchString(other) {
			continue
		}
		if rec, err := readRecord(root, other); err == nil && rec != nil {
			twins = append(twins, rec)
		}
	}
	return twins
}
