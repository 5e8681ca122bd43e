package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nosa/engine"
)

// tight leaves a long request's blocks no room in slots and host pool.
func tight(t *testing.T) func(*Config, *engine.Options) {
	return func(_ *Config, o *engine.Options) {
		o.Context, o.Sequences, o.Chunk = 1024, 2, 64
		o.Attention, o.TopK, o.Window = "infllmv2", 4, 128
		o.KVDevice, o.KVHost, o.DiskDir = 10<<20, 2<<20, t.TempDir()
	}
}

// hold opens a request that goes on until stop is called, and returns its id and, when
// it has ended, what its client has read.
func (w *world) hold(words int, header ...string) (id string, rest func() string, stop func()) {
	w.Helper()
	ctx, stop := context.WithCancel(w.Context())
	body := fmt.Sprintf(`{"model":"tiny","prompt":%q,"max_tokens":600,"ignore_eos":true,"stream":true}`, strings.Repeat("the whale ", words))
	r, err := http.NewRequestWithContext(ctx, "POST", w.url+"/v1/completions", strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { stop(); _ = res.Body.Close() })
	return res.Header.Get("X-Request-Id"), func() string {
		data, err := io.ReadAll(res.Body)
		if err != nil {
			w.Error(err)
		}
		return string(data)
	}, stop
}

// until asks again until ok says yes.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("it does not come that %s", what)
		}
	}
}

// TestState: a long request is seen with its phase and its blocks in three tiers, is
// cancelled, and leaves nothing behind but what is kept for others.
func TestState(t *testing.T) {
	w := start(t, tight(t))
	id, rest, _ := w.hold(200)
	var st stateResponse
	w.until("its answer has begun", func() bool {
		st = stateResponse{}
		w.good("GET", "/nosa/state", "", &st)
		return len(st.Requests) > 0 && st.Requests[0].Written > 0
	})
	if len(st.Requests) != 1 || st.More != 0 || st.Running != 1 || !st.SeesAll || !st.Ready || st.Context != 1024 || len(st.Layers) != 30 || st.Held == 0 {
		t.Fatalf("%+v", st)
	}
	q := st.Requests[0]
	if q.ID != id || q.Phase != engine.Decode || q.Seat == nil || *q.Seat != 0 || q.Prompt < 400 || q.Most != q.Prompt+600 || q.Held != q.Prompt-1+q.Written || q.Seconds <= 0 {
		t.Errorf("%+v", q)
	}
	if st.Drawn < int64(q.Written) || st.Rows < int64(q.Held) || st.Slots.Blocks == 0 || st.Slots.Blocks > st.Slots.Places || st.Disk.Blocks > st.Disk.Places || len(st.Bounds)+1 != len(st.FirstToken.Counts) {
		t.Errorf("%+v", st)
	}
	var sum [4]int64
	for _, l := range st.Layers {
		for i, n := range l {
			sum[i] += n
		}
	}
	if sum != [4]int64{st.Total.Selected, st.Total.Hits, st.Total.HostHits, st.Total.DiskHits} || sum[0] == 0 {
		t.Errorf("layers have %v together, all %+v", sum, st.Total)
	}

	var c cacheResponse
	var cells []byte
	look := func(query string) {
		t.Helper()
		c = cacheResponse{}
		w.good("GET", "/nosa/cache"+query, "", &c)
		var err error
		if cells, err = base64.StdEncoding.DecodeString(c.Cells); err != nil {
			t.Fatal(err)
		}
		if want := 2 * (c.Layers[1] - c.Layers[0]) * c.Heads * (c.Blocks[1] - c.Blocks[0]); len(cells) != want || len(c.Numbers) != c.Blocks[1]-c.Blocks[0] {
			t.Fatalf("%s: %d bytes of cells and %d numbers, want %d bytes: %+v", query, len(cells), len(c.Numbers), want, c)
		}
	}
	w.until("blocks are in all tiers, and some are selected", func() bool {
		look("?request=" + id)
		var where, wanted byte
		for i := 0; i < len(cells); i += 2 {
			where |= cells[i]
			wanted = max(wanted, cells[i+1])
		}
		return where&(1|2|4|8|64) == 1|2|4|8|64 && wanted > 1
	})
	if c.Request != id || !c.Open || c.Layers != [2]int{0, 30} || c.Heads != 3 || c.Tokens != 64 || c.Total < 7 || c.Window != 32 {
		t.Errorf("%+v", c)
	}
	look("?request=" + id + "&choice=0&layers=2-4&blocks=1-99")
	if c.Layers != [2]int{2, 4} || c.Blocks[0] != 1 || c.Blocks[1] != c.Total {
		t.Errorf("%+v", c)
	}

	var done struct{ Cancelled bool }
	w.good("POST", "/nosa/requests/"+id+"/cancel", "{}", &done)
	if text := rest(); !done.Cancelled || !strings.Contains(text, `"code":"cancelled"`) || !strings.HasSuffix(text, "data: [DONE]\n\n") {
		t.Errorf("its client reads %q", text[max(0, len(text)-300):])
	}
	w.until("nothing is held", func() bool {
		st = stateResponse{}
		w.good("GET", "/nosa/state", "", &st)
		return len(st.Requests) == 0 && st.Held == 0
	})
	if st.Ended.Cancelled != 1 || st.Ended.Failed != 0 || st.Cached == 0 {
		t.Errorf("%+v", st)
	}
	look("")
	if c.Request != "" || c.Total == 0 || c.Total*30*3 != st.Cached {
		t.Errorf("kept: %+v of %d blocks", c, st.Cached)
	}
	for _, path := range []string{"/nosa/requests/" + id + "/cancel", "/nosa/requests/x/cancel"} {
		if code, data, _ := w.ask("POST", path, "{}"); code != 404 {
			t.Errorf("%s: %d %s", path, code, data)
		}
	}
	if look("?request=" + id); c.Open || c.Total != 0 {
		t.Errorf("blocks of a request that has ended: %+v", c)
	}
}

func TestStateRefusals(t *testing.T) {
	w := start(t, nil)
	for path, want := range map[string]int{
		"/nosa/cache?layers=1":             400,
		"/nosa/cache?layers=2-1":           400,
		"/nosa/cache?layers=0--1":          400,
		"/nosa/cache?blocks=a-b":           400,
		"/nosa/cache?blocks=0-99999999999": 400,
		"/nosa/cache?choice=x&request=y":   400,
		"/nosa/cache?request=a&request=b":  400,
		"/nosa/cache?colour=red":           400,
		"/nosa/cache?a=%zz":                400,
		"/nosa/cache?request=none":         200,
		"/nosa/cache?layers=900-901":       200,
		"/nosa/requests":                   404,
		"/nosa/requests/x/cancel":          405,
	} {
		if code, data, _ := w.ask("GET", path, ""); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, data, want)
		}
	}
	if code, _, _ := w.ask("POST", "/nosa/requests/x/cancel", "{}", "Content-Type", "text/plain"); code != 415 {
		t.Errorf("a form: %d", code)
	}
	if code, _, _ := w.ask("POST", "/nosa/requests/x/cancel", `{"all":true}`); code != 400 {
		t.Errorf("an unknown field: %d", code)
	}
}

// TestStateOfOthers: a key sees and cancels its own requests alone, an operator's all.
func TestStateOfOthers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("alice aaaaaaaaaaaaaaaa\nbob bbbbbbbbbbbbbbbb\nroot cccccccccccccccc operator\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := &Keys{}
	if err := keys.Load(file); err != nil {
		t.Fatal(err)
	}
	w := start(t, func(c *Config, o *engine.Options) { c.Keys, o.Context = keys, 1024 })
	as := func(letter string) []string {
		return []string{"Authorization", "Bearer " + strings.Repeat(letter, 16)}
	}
	alice, bob, root := as("a"), as("b"), as("c")
	id, rest, _ := w.hold(20, alice...)
	for _, tc := range []struct {
		who        string
		key        []string
		requests   int
		all        bool
		kept, stop int
	}{
		{"nobody", nil, 0, false, 401, 401},
		{"bob", bob, 0, false, 403, 404},
		{"alice", alice, 1, false, 403, 0},
		{"root", root, 1, true, 200, 200},
	} {
		code, data, _ := w.ask("GET", "/nosa/state", "", tc.key...)
		var st stateResponse
		if tc.key == nil {
			if code != 401 {
				t.Errorf("state without a key: %d", code)
			}
		} else if err := json.Unmarshal(data, &st); err != nil || len(st.Requests) != tc.requests || st.SeesAll != tc.all || st.Running != 1 {
			t.Errorf("%s sees %d %s, %v", tc.who, code, data, err)
		}
		code, data, _ = w.ask("GET", "/nosa/cache?request="+id, "", tc.key...)
		var c cacheResponse
		if tc.key == nil {
			if code != 401 {
				t.Errorf("blocks without a key: %d", code)
			}
		} else if err := json.Unmarshal(data, &c); err != nil || code != 200 || c.Open != (tc.requests > 0) || (c.Total > 0) != c.Open {
			t.Errorf("%s looks at its blocks: %d %s, %v", tc.who, code, data, err)
		}
		if code, data, _ := w.ask("GET", "/nosa/cache", "", tc.key...); code != tc.kept {
			t.Errorf("%s looks at what is kept: %d %s", tc.who, code, data)
		}
		if tc.stop == 0 {
			continue
		}
		if code, data, _ := w.ask("POST", "/nosa/requests/"+id+"/cancel", "{}", tc.key...); code != tc.stop {
			t.Errorf("%s cancels it: %d %s", tc.who, code, data)
		}
	}
	if text := rest(); !strings.Contains(text, `"code":"cancelled"`) {
		t.Errorf("its client reads %q", text[max(0, len(text)-300):])
	}
}

// TestPage: its files are there without a key, under a policy that allows nothing from
// anywhere else.
func TestPage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("aaaaaaaaaaaaaaaa\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := &Keys{}
	if err := keys.Load(file); err != nil {
		t.Fatal(err)
	}
	w := start(t, func(c *Config, _ *engine.Options) { c.Keys = keys })
	paths := []string{"/"}
	for name := range pageFiles {
		paths = append(paths, "/page/"+name)
	}
	for _, path := range paths {
		code, data, h := w.ask("GET", path, "")
		policy := h.Get("Content-Security-Policy")
		if code != 200 || len(data) == 0 || !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("ETag") == "" {
			t.Errorf("%s: %d, %v", path, code, h)
		}
		if code, data, _ := w.ask("GET", path, "", "If-None-Match", h.Get("ETag")); code != 304 || len(data) != 0 {
			t.Errorf("%s again: %d, %d bytes", path, code, len(data))
		}
		for _, bad := range []string{"http://", "https://", "innerHTML", "eval(", "style=", "onclick="} {
			if text := strings.ReplaceAll(string(data), "http://www.w3.org/2000/svg", ""); strings.Contains(text, bad) {
				t.Errorf("%s has %q in it", path, bad)
			}
		}
	}
	for _, path := range []string{"/page/none.js", "/page/..%2fpage.go", "/page/index.html%00"} {
		if code, _, _ := w.ask("GET", path, ""); code != 404 {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, _, _ := w.ask("GET", "/", "", "Host", "evil.example"); code != 421 {
		t.Errorf("by another name: %d", code)
	}
	if code, _, _ := w.ask("POST", "/", "{}"); code != 401 {
		t.Errorf("POST /: %d", code)
	}
}
