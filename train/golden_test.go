package train

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/dtype"
	"nosa/weights"
)

// trainers are the devices that every test of numbers runs on.
func trainers(t *testing.T) []compute.Trainer {
	t.Helper()
	fast, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fast.Close(); err != nil {
			t.Error(err)
		}
	})
	return []compute.Trainer{compute.Reference{}, fast}
}

// The forward pass in training is that of inference, for every family, rotation and method: the losses of whole texts
// are those of the logits that transformers, and an implementation of the spec in PyTorch, have given (model/testdata).
func TestGoldenLosses(t *testing.T) {
	paths, err := filepath.Glob("../model/testdata/*/golden*.safetensors")
	if err != nil || len(paths) < 20 {
		t.Fatalf("%d golden files, %v", len(paths), err)
	}
	for _, dev := range trainers(t) {
		for _, path := range paths {
			dir := filepath.Dir(path)
			method := strings.TrimPrefix(strings.TrimSuffix(filepath.Base(path), ".safetensors"), "golden")
			if method = strings.TrimPrefix(method, "-"); method == "" {
				method = "full"
			}
			t.Run(fmt.Sprintf("%s/%s/%s", dev.Name(), filepath.Base(dir), method), func(t *testing.T) {
				g, err := weights.OpenTensors(path)
				if err != nil {
					t.Fatal(err)
				}
				defer g.Close()
				rows, want := goldenRows(t, g)
				got := lossesOf(t, dev, dir, method, rows)
				for i, w := range want {
					if d := math.Abs(float64(got[i]) - w); !(d <= 2e-4) {
						t.Fatalf("row %d: loss %v, want %v", i, got[i], w)
					}
				}
			})
		}
	}
}

// goldenRows are a text as one document, and the losses of its tokens by golden logits.
func goldenRows(t *testing.T, g *weights.Checkpoint) (r Rows, losses []float64) {
	t.Helper()
	ids, err := g.Tensor("ids")
	if err != nil {
		t.Fatal(err)
	}
	r.IDs = compute.NewTensor(ids.Type, ids.Data, ids.Elements()).I32()
	n := len(r.IDs)
	r.Targets = append(append(r.Targets, r.IDs[1:]...), -1)
	r.Begins = []int32{0, int32(n)}
	x, err := g.Tensor("logits")
	if err != nil {
		t.Fatal(err)
	}
	logits := make([]float32, x.Elements())
	dtype.Decode(x.Type, logits, x.Data)
	loss := make([]float32, n)
	compute.CrossEntropy(loss, logits, r.Targets, 1)
	for _, l := range loss {
		losses = append(losses, float64(l))
	}
	return r, losses
}

// lossesOf are those of a model in a folder.
func lossesOf(t *testing.T, dev compute.Trainer, dir, method string, rows Rows) []float32 {
	t.Helper()
	n := len(rows.IDs)
	text := fmt.Sprintf(`out = %q
[model]
path = %q
[batch]
tokens = %d
rows = %d
[optimiser]
rate = 1.0
[[stage]]
steps = 1
method = %q
context = %d
`, t.TempDir(), dir, n, n, method, n)
	job := jobOf(t, text)
	job.Devices = []compute.Trainer{dev}
	r := mustOpen(t, job)
	defer r.Close()
	if err := r.enter(0); err != nil {
		t.Fatal(err)
	}
	losses, err := r.replicas[0].decoder.Losses(rows)
	if err != nil {
		t.Fatal(err)
	}
	return losses
}
