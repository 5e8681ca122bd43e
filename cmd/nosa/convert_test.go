package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/weights"
)

func TestConvert(t *testing.T) {
	src := tinyFolder(t)
	dst := filepath.Join(t.TempDir(), "half")
	r := nosa(t, nil, "convert", src, dst, "--dtype", "bf16", "--json")
	var done converted
	if err := json.Unmarshal([]byte(r.out), &done); err != nil || r.code != exitDone || done.Path != dst || done.Source != src || done.Format != "safetensors" || done.Bytes == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	cp, err := weights.Open(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cp.Close(); err != nil {
			t.Error(err)
		}
	}()
	if x, err := cp.Tensor("lm_head.weight"); err != nil || x.Type.String() != "BF16" {
		t.Errorf("lm_head.weight is %v, %v", x.Type, err)
	}

	nosa(t, nil, "convert", src, dst).refused(t, exitFailed, dst, "exists")
	nosa(t, nil, "convert", src, filepath.Join(dst, "no", "folder")).refused(t, exitFailed)
	nosa(t, nil, "convert", filepath.Join(src, "none"), dst+"2").refused(t, exitFailed, "none")
	nosa(t, nil, "convert", src, dst+"2", "--dtype", "q8_0").refused(t, exitUsage, ".gguf")
	nosa(t, nil, "convert", src, dst+"2", "--dtype", "q2_k").refused(t, exitUsage, "--dtype")
	nosa(t, nil, "convert", src, dst+"2", "--shard", "5G").refused(t, exitUsage, "--shard", "GiB")
}

// TestConvertInterrupted: nothing is left of a conversion that was ended.
func TestConvertInterrupted(t *testing.T) {
	src := tinyFolder(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"convert", src, filepath.Join(dir, "x")}, strings.NewReader(""), &stdout, &stderr, func(string) string { return "" })
	result{code, stdout.String(), stderr.String()}.refused(t, exitFailed, "nosa: interrupted")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
