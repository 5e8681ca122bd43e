package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/engine"
)

// BenchmarkServer has 64 requests at once, of prompts from 256 to 16,384 tokens and 64
// to generate each, with most of their blocks below the device: over HTTP in streams,
// and by hand on the engine, prompt after prompt and then in lockstep, which is as fast
// as its steps are. Tokens are those generated, over the whole time.
func BenchmarkServer(b *testing.B) {
	const path = "../models/SmolLM2-135M-Instruct.gguf"
	if _, err := os.Stat(path); err != nil {
		b.Skipf("%s is not there: run scripts/fetch-models", path)
	}
	const generate = 64
	var prompts [][]int32
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, some := range []struct{ n, tokens int }{{32, 256}, {16, 1024}, {8, 2048}, {6, 4096}, {2, 16384}} {
		for range some.n {
			ids := make([]int32, some.tokens)
			for i := range ids {
				ids[i] = 1000 + int32(rnd.IntN(29000))
			}
			prompts = append(prompts, ids)
		}
	}
	rnd.Shuffle(len(prompts), func(i, j int) { prompts[i], prompts[j] = prompts[j], prompts[i] })

	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		b.Fatal(err)
	}
	src, err := engine.OpenSource(path)
	if err != nil {
		b.Fatal(err)
	}
	o := engine.NewOptions()
	o.Attention, o.Context, o.Sequences = "infllmv2", 16384+generate, len(prompts)
	o.KVDevice, o.KVHost, o.DiskDir = 1<<30, 1<<30, b.TempDir()
	e, err := engine.Open(dev, src, o, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := errors.Join(e.Close(), dev.Close()); err != nil {
			b.Error(err)
		}
	}()
	report := func(b *testing.B) {
		b.ReportMetric(float64(b.N*len(prompts)*generate)/b.Elapsed().Seconds(), "tokens/s")
	}
	for i := range 2 { // in turn
		b.Run(fmt.Sprintf("by hand/%d", i), func(b *testing.B) {
			for b.Loop() {
				byHand(b, e, prompts, generate)
			}
			report(b)
		})
		b.Run(fmt.Sprintf("http/%d", i), func(b *testing.B) {
			service := engine.NewService(e, engine.ServiceOptions{}, slog.New(slog.DiscardHandler))
			defer service.Close()
			s := httptest.NewServer(New(Config{Engine: e, Service: service, Model: "smollm2", Log: slog.New(slog.DiscardHandler)}, nil).Handler())
			defer s.Close()
			for b.Loop() {
				overHTTP(b, s.URL, prompts, generate)
			}
			report(b)
		})
	}
}

func byHand(b *testing.B, e *engine.Engine, prompts [][]int32, generate int) {
	var sampler compute.Sampler
	next := make([]int32, len(prompts))
	var streams []*engine.Stream
	for _, p := range prompts {
		s, err := e.NewStream(len(p)+generate, nil)
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		if err := s.Feed(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		streams = append(streams, s)
	}
	for range generate {
		if err := e.DecodeStep(b.Context(), streams, next, func(i int, logits []float32) error {
			next[i] = sampler.Sample(logits, compute.Sampling{}, streams[i].Len()-1)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

func overHTTP(b *testing.B, url string, prompts [][]int32, generate int) {
	var wait sync.WaitGroup
	for _, p := range prompts {
		body, err := json.Marshal(map[string]any{"model": "smollm2", "prompt": p, "max_tokens": generate, "temperature": 0, "ignore_eos": true, "stream": true})
		if err != nil {
			b.Fatal(err)
		}
		wait.Go(func() {
			r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url+"/v1/completions", bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/json")
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != http.StatusOK || !bytes.HasSuffix(text, []byte("data: [DONE]\n\n")) || !bytes.Contains(text, []byte(`"finish_reason":"length"`)) {
				b.Errorf("%s, %v: %.200s", res.Status, err, text)
			}
		})
	}
	wait.Wait()
}
