package main

import (
	"encoding/json"
	"flag"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

var kills = flag.Int("kills", 5, "how often TestServeKilled kills the server")

// completion is what two answers must have in common, to the bit.
type completion struct {
	Choices []struct {
		Text     string `json:"text"`
		Finish   string `json:"finish_reason"`
		LogProbs struct {
			Tokens []float64 `json:"token_logprobs"`
		} `json:"logprobs"`
	} `json:"choices"`
	Usage struct {
		Details struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	} `json:"usage"`
}

// TestServeKilled kills a server with a lasting disk tier at random moments under load.
// Each next one gives the answers of a server without a disk, to the bit, and takes
// prompts over from those before it.
func TestServeKilled(t *testing.T) {
	rnd := rand.New(rand.NewPCG(31, 32))
	var bodies []string
	words := strings.Fields("call me ishmael some years ago never mind how long precisely having little or no money in my purse")
	for i := range 12 {
		text := strings.Builder{}
		same := rand.New(rand.NewPCG(uint64(i%4), 1)) // four beginnings
		for n := range 300 + rnd.IntN(500) {
			from := same
			if n > 250 {
				from = rnd
			}
			text.WriteString(words[from.IntN(len(words))] + " ")
		}
		body, err := json.Marshal(map[string]any{"model": "tiny", "prompt": text.String(), "max_tokens": 20 + rnd.IntN(60), "ignore_eos": true, "logprobs": 1, "temperature": rnd.IntN(2), "seed": i})
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(body))
	}
	read := func(res *http.Response, err error) (c completion, ok bool) {
		if err != nil {
			return c, false
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			return c, false // the server has been killed
		}
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", res.Status, b)
		}
		if err := json.Unmarshal(b, &c); err != nil {
			t.Error(err)
		}
		return c, true
	}
	flags := []string{"--name", "tiny", "--context", "1500", "--sequences", "4", "--attention", "infllmv2", "--topk", "8", "--window", "128"}
	plain := serve(t, flags...)
	want := make([]completion, len(bodies))
	for i, body := range bodies {
		var ok bool
		if want[i], ok = read(http.Post(plain.url+"/v1/completions", "application/json", strings.NewReader(body))); !ok {
			t.Fatal("no answer")
		}
		if len(want[i].Choices) != 1 || len(want[i].Choices[0].LogProbs.Tokens) < 20 {
			t.Fatalf("%+v", want[i])
		}
	}
	plain.kill()

	dir := t.TempDir()
	flags = append(flags, "--kv-device", "600KiB", "--kv-host", "400KiB", "--kv-disk", dir, "--kv-disk-keep")
	answers, firstCached := 0, 0
	var mu sync.Mutex
	for life := range *kills + 1 {
		s := serve(t, flags...)
		began := time.Now()
		time.AfterFunc(time.Duration(rnd.IntN(1500))*time.Millisecond, s.kill)
		seeds := rnd.Uint64()
		var wait sync.WaitGroup
		for c := range uint64(4) {
			wait.Go(func() {
				rnd := rand.New(rand.NewPCG(seeds, c))
				for first := true; ; first = false {
					i := rnd.IntN(len(bodies))
					got, ok := read(http.Post(s.url+"/v1/completions", "application/json", strings.NewReader(bodies[i])))
					if !ok {
						return
					}
					mu.Lock()
					answers++
					if first && life > 0 {
						firstCached += got.Usage.Details.Cached
					}
					mu.Unlock()
					if !reflect.DeepEqual(got.Choices, want[i].Choices) {
						t.Errorf("life %d, request %d: %+v\nwant %+v", life, i, got.Choices, want[i].Choices)
					}
				}
			})
		}
		wait.Wait()
		for l := range s.log {
			if strings.Contains(l, "level=ERROR") || strings.Contains(l, "panic") {
				t.Error(l)
			}
		}
		if t.Failed() {
			t.Fatalf("after %v of life %d", time.Since(began), life)
		}
	}
	t.Logf("%d kills, %d answers compared, %d tokens of first prompts from earlier lives", *kills, answers, firstCached)
	if answers == 0 || firstCached == 0 {
		t.Error("nothing was compared, or nothing was found")
	}
}

// kill ends the process as nothing in it can prevent.
func (s *served) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}
