package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/kv"
	"nosa/model"
)

var (
	sameModel    = flag.String("samebits-model", "../model/testdata/nosa", "checkpoint for TestSameBits; one with delta and A runs all methods")
	samePrompt   = flag.Int("samebits-prompt", 400, "tokens of its prompt")
	sameGenerate = flag.Int("samebits-generate", 16, "tokens that it generates")
	sameMethods  = flag.String("samebits-methods", "full,infllmv2,dma,nosa", "methods that it runs")
	sameTypes    = flag.String("samebits-types", "f32,bf16,f16,q8,q4", "KV formats that it runs")
	sameTopK     = flag.Int("samebits-topk", 0, "--topk, 0 for the model's own")
	sameWindow   = flag.Int("samebits-window", -1, "--window, −1 for the model's own")
	sameRandom   = flag.Bool("samebits-random", false, "run TestSameBitsLong")
	faultPoints  = flag.Int("fault-points", 0, "random points of each fault in TestFaults; 0 for the short run")
	sameLong     = flag.Bool("samebits-long", false, "all settings for every KV format, chunks of one token left out")
)

// budget is one way to spread the blocks over the tiers, as shares of all blocks.
type budget struct {
	name           string
	device, host   float64 // of all blocks; device 0: all resident
	disk           bool
	keep           kv.Keep
	chunk, threads int
}

// sameSettings are 26 settings: from everything resident to more than nine tenths
// of the blocks on disk, prompts cut from one token to the whole, one to three
// threads, both ways to keep.
func sameSettings(prompt int, long bool) []budget {
	var s []budget
	add := func(b budget) {
		b.name = fmt.Sprintf("device %.0f%%, host %.0f%%, disk %v, %v, chunk %d, threads %d", 100*b.device, 100*b.host, b.disk, b.keep, b.chunk, b.threads)
		s = append(s, b)
	}
	small := 1
	if long {
		small = 33
	}
	for _, chunk := range []int{prompt, 512, 100, 64, 7 + small, small} {
		add(budget{chunk: chunk, threads: 1 + chunk%2})
	}
	for _, keep := range []kv.Keep{kv.KeepLRU, kv.KeepSelected} {
		add(budget{device: 0.5, host: 1, keep: keep, chunk: 512, threads: 2})
		add(budget{device: 0.25, host: 1, keep: keep, chunk: 100, threads: 1})
		add(budget{device: 0.1, host: 1, keep: keep, chunk: 64, threads: 2})
		add(budget{device: 0.02, host: 1, keep: keep, chunk: 512, threads: 3})
		add(budget{device: 0.5, host: 0.5, disk: true, keep: keep, chunk: 512, threads: 2})
		add(budget{device: 0.25, host: 0.25, disk: true, keep: keep, chunk: 333, threads: 1})
		add(budget{device: 0.1, host: 0.05, disk: true, keep: keep, chunk: 512, threads: 2})
		add(budget{device: 0.04, host: 0.04, disk: true, keep: keep, chunk: 64, threads: 2})
		add(budget{device: 0.03, host: 0.02, disk: true, keep: keep, chunk: 128, threads: 1})
		add(budget{device: 0.9, host: 0.01, disk: true, keep: keep, chunk: 96, threads: 2})
	}
	return s
}

// TestSameBits runs one request in many settings of budgets, chunks and threads
// and expects one SHA-256 of all logits per method and KV format.
//
//	go test ./engine -run TestSameBits -samebits-model DIR -samebits-prompt 4096 -samebits-generate 64 -samebits-long
func TestSameBits(t *testing.T) { testSameBits(t) }

func testSameBits(t *testing.T) {
	t.Helper()
	for _, method := range strings.Split(*sameMethods, ",") {
		for _, name := range strings.Split(*sameTypes, ",") {
			kind, err := compute.ParseKVType(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(method+"/"+name, func(t *testing.T) {
				settings := sameSettings(*samePrompt, *sameLong)
				if testing.Short() && !*sameLong { // the race detector makes each ten times as long
					settings = []budget{settings[0], settings[5], settings[9], settings[12], settings[18], settings[25]}
				}
				want := ""
				for _, b := range settings {
					got, stats := b.run(t, method, kind)
					t.Logf("%s  %s  hits %.1f%%, on disk %d of %d", got[:16], b.name, 100*hitRate(stats), stats.OnDisk, stats.Live)
					if want == "" {
						want = got
					}
					if got != want {
						t.Errorf("%s: logits %s, in the first setting %s", b.name, got, want)
					}
				}
				t.Logf("%d settings: %s", len(settings), want)
			})
		}
	}
}

// run gives the SHA-256 of the logits of every position.
func (b budget) run(t *testing.T, method string, kind compute.KVType) (string, kv.Stats) {
	t.Helper()
	dev, err := cpu.New(cpu.Options{Threads: b.threads})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	src, err := OpenSource(*sameModel)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	row := []byte{}
	o := NewOptions()
	o.Attention, o.KVType, o.Keep, o.Chunk = method, kind, b.keep, b.chunk
	o.Context, o.TopK, o.Window = *samePrompt+*sameGenerate, *sameTopK, *sameWindow
	o.OnLogits = func(pos int, logits []float32) {
		row = binary.LittleEndian.AppendUint32(row[:0], uint32(pos))
		for _, v := range logits {
			row = binary.LittleEndian.AppendUint32(row, math.Float32bits(v))
		}
		sum.Write(row)
	}
	b.apply(t, src, &o)
	e, err := Open(testDevice(dev), src, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	r := rand.New(rand.NewPCG(7, 8))
	ids := make([]int32, *samePrompt)
	for i := range ids {
		ids[i] = int32(r.IntN(src.Config.Vocab))
	}
	var during kv.Stats
	out, err := e.Generate(context.Background(), Request{IDs: ids, MaxTokens: *sameGenerate, IgnoreEnd: true, Emit: func(string) error { return nil }})
	if err != nil {
		t.Fatalf("%s: %v", b.name, err)
	}
	during = out.Stats
	if err := e.store.Check(); err != nil {
		t.Errorf("%s: %v", b.name, err)
	}
	if err := accounts(during, int64(e.set.layout.BlockBytes())); err != nil {
		t.Errorf("%s: %v", b.name, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), during
}

// apply sets the budgets as shares of the blocks that the request will have.
func (b budget) apply(t testing.TB, src *Source, o *Options) {
	t.Helper()
	if b.device == 0 {
		return
	}
	set, err := o.resolve(src.Config, model.HasScores(src.Checkpoint))
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan(src.Config, set, src.Checkpoint.Bytes(), 0)
	if err != nil {
		t.Fatal(err)
	}
	share := func(of float64) int64 { return int64(max(1, int(of*float64(p.Blocks)))) }
	o.KVDevice = p.Tails + share(b.device)*p.BlockLen
	if b.disk {
		o.DiskDir = t.TempDir()
		o.KVHost = share(b.host) * int64(kv.Config{Layout: set.layout, Disk: &kv.Disk{Direct: true}}.RecordBytes())
	}
}
