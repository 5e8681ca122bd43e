package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nosa/dtype"
)

// fake is a llama-bench that answers what it is asked, 100 tokens per second with
// flash attention and 50 without, and keeps its arguments, a line a call. how
// changes it for the arguments that match a shell pattern.
func fake(t testing.TB, how ...string) (p *Peer, calls func() []string) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "calls")
	script := `#!/bin/sh
echo "$0" "$@" >> ` + log + `
case "$*" in
` + strings.Join(how, "\n") + `
esac
while [ $# -gt 0 ]; do
	case "$1" in
	-p) p=$2 ;; -n) n=$2 ;; -d) d=$2 ;; -t) t=$2 ;; -r) r=$2 ;; -fa) fa=$2 ;;
	-npp) npp=$2 ;; -ntg) ntg=$2 ;; -npl) npl=$2 ;;
	esac
	shift
done
s=50; [ "$fa" = 1 ] && s=100
echo "loading" >&2
if [ -n "$npl" ]; then
	echo "warming up"
	echo '{"pp": '$npp', "tg": '$ntg', "pl": '$npl', "speed_pp": 1.5, "speed_tg": '$s'.5}'
	exit
fi
all=$s
while [ "$r" -gt 1 ]; do all="$all, $s"; r=$((r-1)); done
echo '[{"build_commit": "abc", "build_number": 7, "n_threads": '$t', "n_prompt": '$p', "n_gen": '$n', "n_depth": '$d', "samples_ts": ['$all']}]'
`
	// A child that is forked meanwhile would hold the files open for writing, and until
	// it has become its own program nobody could run them.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for _, name := range []string{"llama-bench", "llama-batched-bench"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p, err := FindPeer(dir)
	if err != nil {
		t.Fatal(err)
	}
	p.Threads, p.Model = 2, "model.gguf"
	return p, func() []string {
		data, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
}

func TestFindPeer(t *testing.T) {
	dir := t.TempDir()
	program, plain := filepath.Join(dir, "llama-bench"), filepath.Join(dir, "notes.txt")
	for path, mode := range map[string]os.FileMode{program: 0o755, plain: 0o644} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, program} {
		if p, err := FindPeer(path); err != nil || p.Path != program || p.Batched != "" || p.Name() != "llama-bench" {
			t.Errorf("%s: %+v, %v", path, p, err)
		}
	}
	for _, path := range []string{plain, filepath.Join(dir, "none"), t.TempDir()} {
		if _, err := FindPeer(path); !errors.Is(err, ErrPeer) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want ErrPeer with its name", path, err)
		}
	}
}

func TestPeer(t *testing.T) {
	p, calls := fake(t)
	for _, tc := range []struct {
		test   Test
		flash  int
		repeat int
		want   []float64
		args   string
	}{
		{Test{Prompt: 512, Batch: 1}, 0, 1, []float64{50}, "-m model.gguf -t 2 -p 512 -n 0 -d 0 -fa 0 -r 1 -o json"},
		{Test{Gen: 64, Depth: 4096, Batch: 1}, 1, 3, []float64{100, 100, 100}, "-m model.gguf -t 2 -p 0 -n 64 -d 4096 -fa 1 -r 3 -o json"},
		{Test{Prompt: 8192, Batch: 1}, 1, 1, []float64{100}, "-m model.gguf -t 2 -p 8192 -n 0 -d 0 -fa 1 -r 1 -o json --no-warmup"},
		{Test{Gen: 64, Depth: 2048, Batch: 8}, 0, 1, []float64{50.5}, "-m model.gguf -t 2 -npp 2048 -ntg 64 -npl 8 -c 16896 -b 2048 -ub 512 -fa 0 --output-format jsonl"},
		{Test{Gen: 64, Batch: 8}, 1, 1, []float64{100.5}, "-m model.gguf -t 2 -npp 1 -ntg 64 -npl 8 -c 520 -b 2048 -ub 512 -fa 1 --output-format jsonl"},
	} {
		got, _, err := p.Run(t.Context(), tc.test, tc.flash, tc.repeat)
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%v: %v, %v; want %v", tc.test, got, err, tc.want)
		}
		all := calls()
		path, args, _ := strings.Cut(all[len(all)-1], " ")
		if args != tc.args || (filepath.Base(path) == "llama-batched-bench") != (tc.test.Batch > 1) {
			t.Errorf("%v: ran %s %s, want %s", tc.test, path, args, tc.args)
		}
	}
	if p.Version() != "llama-bench abc (7)" {
		t.Errorf("version %q", p.Version())
	}
}

// TestPeerFails: each way to fail is an error that names the program, its arguments
// and what was wrong.
func TestPeerFails(t *testing.T) {
	for name, tc := range map[string]struct{ how, says string }{
		"exit":        {`*) echo first >&2; echo "no such model" >&2; exit 3 ;;`, "exit status 3: no such model"},
		"nothing":     {`*) exit 0 ;;`, "unexpected end of JSON"},
		"text":        {`*) echo hello; exit 0 ;;`, "want a JSON array"},
		"no result":   {`*) echo "[]"; exit 0 ;;`, "0 results, want 1"},
		"other test":  {`*) echo '[{"n_prompt": 3, "n_threads": 2, "samples_ts": [1]}]'; exit 0 ;;`, "measured 3 prompt tokens"},
		"samples":     {`*) echo '[{"n_prompt": 512, "n_threads": 2, "samples_ts": [1, 2]}]'; exit 0 ;;`, "2 samples, want 1"},
		"standstill":  {`*) echo '[{"n_prompt": 512, "n_threads": 2, "samples_ts": [0]}]'; exit 0 ;;`, "0 tokens per second"},
		"other speed": {`*) echo '[{"n_prompt": 512, "n_threads": 1, "samples_ts": [1]}]'; exit 0 ;;`, "1 threads"},
		"endless":     {`*) exec yes ;;`, "ended"},
		"hangs":       {`*) exec sleep 100 ;;`, "no answer after 200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := fake(t, tc.how)
			p.Timeout = 10 * time.Second
			if name == "hangs" || name == "endless" {
				p.Timeout = 200 * time.Millisecond
			}
			_, _, err := p.Run(t.Context(), Test{Prompt: 512, Batch: 1}, 0, 1)
			if !errors.Is(err, ErrPeer) || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "llama-bench -m model.gguf") {
				t.Errorf("%v, want ErrPeer with %q", err, tc.says)
			}
		})
	}
	for name, line := range map[string]string{
		"no result": "nothing here", "two": `{"pp":1,"tg":4,"pl":2,"speed_tg":1}` + "\n" + `{"pp":1,"tg":4,"pl":2,"speed_tg":1}`,
		"other": `{"pp":1,"tg":4,"pl":3,"speed_tg":1}`, "broken": `{"pp":1,`, "no speed": `{"pp":1,"tg":4,"pl":2}`,
	} {
		if _, err := parseBatched([]byte(line), Test{Gen: 4, Batch: 2}); !errors.Is(err, errOutput) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPeerCancel: the end of the context ends the peer, and is the error.
func TestPeerCancel(t *testing.T) {
	p, calls := fake(t, "*) exec sleep 100 ;;")
	stop := errors.New("the user has seen enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for ctx.Err() == nil { // until it has begun
			if _, err := os.Stat(filepath.Join(filepath.Dir(p.Path), "calls")); err == nil {
				cancel(stop)
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, _, err := p.Run(ctx, Test{Gen: 1, Batch: 1}, 0, 1); !errors.Is(err, stop) {
		t.Errorf("%v, want %v", err, stop)
	}
	if len(calls()) != 1 {
		t.Errorf("calls %q", calls())
	}
}

// TestDeep: far down fewer processes take as many samples.
func TestDeep(t *testing.T) {
	p := &Peer{DeepRuns: 2, DeepFrom: 1000}
	for name, tc := range map[string]struct {
		test Test
		all  int
		want []int
	}{
		"shallow":          {Test{Gen: 9, Depth: 999, Batch: 1}, 5, []int{1, 1, 1, 1, 1}},
		"deep":             {Test{Gen: 9, Depth: 1000, Batch: 1}, 5, []int{3, 2, 0, 0, 0}},
		"long prompt":      {Test{Prompt: 900, Depth: 100, Batch: 1}, 4, []int{2, 2, 0, 0}},
		"as many as asked": {Test{Gen: 9, Depth: 1000, Batch: 1}, 2, []int{1, 1}},
		"a batch":          {Test{Gen: 9, Depth: 1000, Batch: 2}, 3, []int{1, 1, 1}},
	} {
		var got []int
		for i := range tc.all {
			got = append(got, p.repetitions(tc.test, i, tc.all))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// TestCompare: the peer's processes alternate with our runs, the faster setting
// counts, and a setting that fails is told and left out from there on down.
func TestCompare(t *testing.T) {
	s := Sweep{Prompts: []int{16}, Gen: 2, Depths: []int{0, 64}, Batches: []int{1, 2}}
	p, calls := fake(t, `*"-n 2 -d 0 -fa 1"*) echo "out of memory" >&2; exit 1 ;;`)
	var warned []string
	c := Config{Sweep: s, Repeat: 2, Peer: p, Lanes: lanes(t, tiny(t, dtype.Q8_0, 1), s, []string{"full"}, nil),
		Warn: func(err error) { warned = append(warned, err.Error()) }}
	figures, ratios := collect(t, c)
	if len(figures) != 6 || len(ratios) != 6 {
		t.Fatalf("%d figures and %d ratios, want 6 each", len(figures), len(ratios))
	}
	for i, r := range ratios {
		f, flash, speed := figures[i], 1, 100.0
		if strings.HasPrefix(r.Test, "tg2") && r.Batch == 1 {
			flash, speed = 0, 50
		} else if r.Batch > 1 {
			speed = 100.5
		}
		if r.Test != f.Test || r.Flash != flash || r.PeerTS != speed || r.OursTS != f.MedianTS || r.Ratio != f.MedianTS/speed || r.RatioMin > r.RatioMax {
			t.Errorf("%s: %+v", f.Test, r)
		}
		if r.Peer != "llama-bench abc (7)" {
			t.Errorf("peer %q", r.Peer)
		}
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "out of memory") {
		t.Errorf("told %q, want one failure", warned)
	}
	var order []string
	for _, call := range calls() {
		args := strings.Fields(call)
		at := func(flag string) string {
			if i := slices.Index(args, flag); i >= 0 {
				return args[i+1]
			}
			return "-"
		}
		order = append(order, fmt.Sprintf("p%s n%s d%s b%s fa%s", at("-p"), at("-n"), at("-d"), at("-npl"), at("-fa")))
	}
	want := []string{
		"p16 n0 d0 b- fa0", "p16 n0 d0 b- fa1", "p16 n0 d0 b- fa0", "p16 n0 d0 b- fa1",
		"p0 n2 d0 b- fa0", "p0 n2 d0 b- fa1", "p0 n2 d0 b- fa0",
		"p- n- d- b2 fa0", "p- n- d- b2 fa1", "p- n- d- b2 fa0", "p- n- d- b2 fa1",
		"p16 n0 d64 b- fa0", "p16 n0 d64 b- fa1", "p16 n0 d64 b- fa0", "p16 n0 d64 b- fa1",
		"p0 n2 d64 b- fa0", "p0 n2 d64 b- fa0",
		"p- n- d- b2 fa0", "p- n- d- b2 fa1", "p- n- d- b2 fa0", "p- n- d- b2 fa1",
	}
	if !slices.Equal(order, want) {
		t.Errorf("calls\n%s\nwant\n%s", strings.Join(order, "\n"), strings.Join(want, "\n"))
	}
}

// FuzzPeerOutput: whatever a peer writes, what is taken from it are speeds of the
// test that was asked for.
func FuzzPeerOutput(f *testing.F) {
	f.Add([]byte(`[{"build_commit":"a","n_threads":2,"n_prompt":0,"n_gen":4,"n_depth":8,"samples_ts":[1.5,2]}]`))
	f.Add([]byte(`{"pp":8,"tg":4,"pl":2,"speed_tg":1.5}`))
	f.Add([]byte("noise\n{\"pp\":8}\n[]"))
	f.Add([]byte(`[{"samples_ts":[1e999,-1,null]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &Peer{Threads: 2}
		one, err := p.parse(data, Test{Gen: 4, Depth: 8, Batch: 1}, 2)
		if err != nil && !errors.Is(err, errOutput) || err == nil && len(one) != 2 {
			t.Errorf("%v, %v", one, err)
		}
		many, err := parseBatched(data, Test{Gen: 4, Depth: 8, Batch: 2})
		if err != nil && !errors.Is(err, errOutput) || err == nil && len(many) != 1 {
			t.Errorf("%v, %v", many, err)
		}
		for _, v := range append(one, many...) {
			if !isSpeed(v) {
				t.Errorf("a speed of %v", v)
			}
		}
	})
}
