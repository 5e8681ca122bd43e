package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	hostileConns = flag.Int("hostile-connections", 500, "idle connections of TestHostileConnections, and a tenth of them that drip")
	hostileBody  = flag.Int64("hostile-body", 64<<20, "bytes of a body of TestHostileBodies, far beyond what is read")
)

// target is `nosa serve` as a process under attack, with a client that must not notice.
type target struct {
	*served
	before int64 // bytes at the peak before
	want   string
}

// attack starts a server.
func attack(t *testing.T, flags ...string) *target {
	t.Helper()
	a := &target{served: serve(t, append([]string{"--name", "tiny", "--context", "512", "--sequences", "4"}, flags...)...)}
	a.want = a.good()
	a.before = a.peak()
	return a
}

// unharmed ends the server, which must be as it was: it answers the same, its memory has
// not grown beyond most bytes at any moment, and it ends well.
func (a *target) unharmed(most int64) {
	a.Helper()
	if got := a.good(); got != a.want {
		a.Errorf("it answers %q, before %q", got, a.want)
	}
	grown := a.peak() - a.before
	a.Logf("its memory was %d MiB at its peak before, and grew by %d MiB", a.before>>20, grown>>20)
	if grown > most {
		a.Errorf("its memory grew by %d MiB, want %d at most", grown>>20, most>>20)
	}
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		a.Error(err)
	}
	for range a.log {
	}
	if err := a.cmd.Wait(); err != nil {
		a.Error(err)
	}
}

// peak is the most memory that the process has had.
func (a *target) peak() int64 {
	a.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	if err != nil {
		a.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); fields[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				a.Fatal(err)
			}
			return kib << 10
		}
	}
	a.Fatal("no VmHWM")
	return 0
}

// good asks what the server must always answer.
func (a *target) good() string {
	a.Helper()
	code, data := a.post("/v1/completions", `{"model":"tiny","prompt":"Call me","max_tokens":8,"temperature":0,"ignore_eos":true}`)
	var c struct{ Choices []struct{ Text string } }
	if code != http.StatusOK || json.Unmarshal([]byte(data), &c) != nil || len(c.Choices) != 1 {
		a.Errorf("a good request: %d %s", code, data)
		return ""
	}
	return c.Choices[0].Text
}

func (a *target) post(path, body string) (int, string) {
	a.Helper()
	res := a.ask("POST", path, body, "")
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		a.Errorf("%s: %v", path, err)
	}
	if len(data) > 1<<20 {
		a.Errorf("%s: an answer of %d bytes", path, len(data))
	}
	return res.StatusCode, string(data)
}

// dial opens a connection and sends a text.
func (a *target) dial(text string) net.Conn {
	a.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		a.Error(err)
	}
	return c
}

// TestHostileConnections: thousands of idle connections, before and after a request, and
// hundreds that drip a header, neither keep others out nor take much; those that drip are
// ended by the server.
func TestHostileConnections(t *testing.T) {
	n := *hostileConns
	a := attack(t)
	defer a.unharmed(64<<20 + int64(n)*48<<10)
	for i := range n {
		text := ""
		if i%2 == 1 {
			text = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
		}
		a.dial(text)
	}
	var drips sync.WaitGroup
	for range n / 10 {
		c := a.dial("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
		drips.Go(func() {
			for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(300 * time.Millisecond) {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
			}
			t.Error("a header could drip for two minutes")
		})
	}
	for range 20 {
		if got := a.good(); got != a.want {
			t.Errorf("beside them it answers %q, want %q", got, a.want)
		}
	}
	drips.Wait()
}

// endless is a body that goes on for a length, and counts what was read of it.
type endless struct {
	left, read int64
	begin      string
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := copy(p, e.begin)
	e.begin = e.begin[n:]
	for ; n < len(p); n++ {
		p[n] = 'x'
	}
	n = int(min(int64(n), e.left))
	e.left -= int64(n)
	e.read += int64(n)
	return n, nil
}

// TestHostileBodies: a body that is far too long is refused before it is there, whether
// it says its length or not, and many at once take no more than they may.
func TestHostileBodies(t *testing.T) {
	const most = 1 << 20
	a := attack(t, "--max-body", "1MiB")
	defer a.unharmed(128 << 20)
	for _, chunked := range []bool{false, true} {
		var clients sync.WaitGroup
		for range 4 {
			clients.Go(func() {
				body := &endless{left: *hostileBody, begin: `{"model":"tiny","prompt":"`}
				r, err := http.NewRequestWithContext(t.Context(), "POST", a.url+"/v1/completions", io.NopCloser(body))
				if err != nil {
					t.Error(err)
					return
				}
				if !chunked {
					r.ContentLength = *hostileBody
				}
				r.Header.Set("Content-Type", "application/json")
				transport := &http.Transport{}
				defer transport.CloseIdleConnections()
				res, err := transport.RoundTrip(r)
				switch {
				case err == nil:
					defer res.Body.Close()
					if res.StatusCode != http.StatusRequestEntityTooLarge {
						t.Errorf("chunked %v: %s", chunked, res.Status)
					}
				case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE): // the end came before the answer was read
				default:
					t.Error(err)
				}
				if body.read > 16*most { // what was under way
					t.Errorf("chunked %v: %d MiB were sent before it was refused", chunked, body.read>>20)
				}
			})
		}
		clients.Wait()
	}
}

// TestHostileJSON: whatever a body is, the answer is a client's error or an answer, with
// JSON in it.
func TestHostileJSON(t *testing.T) {
	a := attack(t)
	defer a.unharmed(256 << 20)
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	deepObject := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	many := func(one string, n int) string { return "[" + strings.Repeat(one+",", n-1) + one + "]" }
	biases := make([]string, 1_000_000)
	for i := range biases {
		biases[i] = fmt.Sprintf(`"%d":1`, i)
	}
	message := func(content string) string { return `"messages":[{"role":"user","content":` + content + `}]` }
	prompt := `"prompt":"Call me"`
	for name, tc := range map[string]struct {
		path, body string
		code       int // 0: an answer or 400
	}{
		"deep metadata":        {"completions", prompt + `,"metadata":` + deep(100_000), 400},
		"deep prompt":          {"completions", `"prompt":` + deep(100_000), 400},
		"deep bias":            {"completions", prompt + `,"logit_bias":` + deepObject(100_000), 400},
		"deep stop":            {"completions", prompt + `,"stop":` + deep(100_000), 400},
		"deep content":         {"chat/completions", message(deep(100_000)), 400},
		"deep message":         {"chat/completions", `"messages":` + deepObject(100_000), 400},
		"deep enough to pass":  {"chat/completions", message(deep(300)), 400},
		"deep arguments":       {"chat/completions", message(`"x"`) + `,"chat_template_kwargs":` + deepObject(5000), 400},
		"deep tools":           {"chat/completions", message(`"x"`) + `,"tools":` + deep(9000), 400},
		"never closed":         {"completions", prompt + `,"metadata":` + strings.Repeat("[", 9000), 400},
		"duplicate names":      {"completions", prompt + `,"max_tokens":1,"max_tokens":2`, 0},
		"duplicate biases":     {"completions", prompt + `,"logit_bias":{"5":1,"5":2}`, 400},
		"a huge exponent":      {"completions", prompt + `,"temperature":1e400`, 400},
		"a tiny exponent":      {"completions", prompt + `,"max_tokens":1,"temperature":1e-400`, 0},
		"a long number":        {"completions", prompt + `,"max_tokens":` + strings.Repeat("9", 1_000_000), 400},
		"a long fraction":      {"completions", prompt + `,"max_tokens":1,"top_p":0.` + strings.Repeat("9", 1_000_000), 0},
		"a huge exponent's n":  {"completions", prompt + `,"n":1e18`, 400},
		"n":                    {"completions", prompt + `,"n":1000000000`, 400},
		"no n":                 {"completions", prompt + `,"n":-1`, 400},
		"max_tokens":           {"completions", prompt + `,"max_tokens":9223372036854775807`, 400},
		"minus max_tokens":     {"completions", prompt + `,"max_tokens":-9223372036854775808`, 400},
		"infinity":             {"completions", prompt + `,"temperature":Infinity`, 400},
		"not a number":         {"completions", prompt + `,"temperature":NaN`, 400},
		"invalid UTF-8":        {"completions", `"prompt":"` + "\xff\xfe\xc0\x80\xed\xa0\x80" + `","max_tokens":1`, 0},
		"lone surrogates":      {"completions", `"prompt":"\ud800\udc00\ud800 \udfff","max_tokens":1`, 0},
		"zero bytes":           {"completions", `"prompt":"\u0000\u0000","max_tokens":1`, 0},
		"a raw zero byte":      {"completions", "\"prompt\":\"\x00\"", 400},
		"a million prompts":    {"completions", `"prompt":` + many(`""`, 1_000_000), 400},
		"a million lists":      {"completions", `"prompt":` + many(`[1]`, 1_000_000), 400},
		"a million ids":        {"completions", `"prompt":` + many(`1`, 1_000_000), 400},
		"a million nulls":      {"completions", `"prompt":` + many(`null`, 1_000_000), 400},
		"a million inputs":     {"embeddings", `"input":` + many(`"x"`, 1_000_000), 400},
		"a megabyte of prompt": {"completions", `"prompt":"` + strings.Repeat("a b ", 1<<18) + `"`, 400},
		"one long word":        {"completions", `"prompt":"` + strings.Repeat("a", 1<<22) + `"`, 400},
		"a million messages":   {"chat/completions", `"messages":` + many(`{"role":"user","content":""}`, 400_000), 400},
		"a million parts":      {"chat/completions", message(many(`{"type":"text","text":""}`, 400_000)), 0},
		"a million fields":     {"chat/completions", `"messages":[{"role":"user","content":"x",` + strings.Join(biases, ",") + `}]`, 400},
		"a million biases":     {"completions", prompt + `,"logit_bias":{` + strings.Join(biases, ",") + `}`, 400},
		"all biases":           {"completions", prompt + `,"max_tokens":4,"logit_bias":{` + strings.Join(biases[:1024], ",") + `}`, 200},
		"a huge bias":          {"completions", prompt + `,"logit_bias":{"5":1e38}`, 400},
		"a strange token":      {"completions", prompt + `,"logit_bias":{"5\r\nX: y":1}`, 400},
		"a thousand stops":     {"completions", prompt + `,"stop":` + many(`"a"`, 1000), 400},
		"a million stops":      {"completions", prompt + `,"stop":` + many(`"a"`, 1_000_000), 400},
		"a megabyte of stop":   {"completions", prompt + `,"stop":"` + strings.Repeat("a", 1<<20) + `"`, 400},
		"periodic stops": {"completions", prompt + `,"max_tokens":300,"ignore_eos":true,"logit_bias":{"81":100},"stop":` + // 81 is "q" again and again
			many(`"`+strings.Repeat("q", 1023)+`a"`, 16), 200},
		"a long model":    {"completions", `"model":"` + strings.Repeat("m", 1<<20) + `",` + prompt, 404},
		"a strange model": {"completions", `"model":"x\r\nX-Injected: yes\r\n\r\n<script>",` + prompt, 404},
	} {
		body := `{` + tc.body + `}`
		if !strings.Contains(tc.body, `"model"`) {
			body = `{"model":"tiny",` + tc.body + `}`
		}
		code, data := a.post("/v1/"+tc.path, body)
		if tc.code == 0 && code != http.StatusOK && code != http.StatusBadRequest || tc.code != 0 && code != tc.code || !json.Valid([]byte(data)) {
			t.Errorf("%s: %d, want %d: %.300s", name, code, tc.code, data)
		}
		if len(data) > 4096 && code != http.StatusOK {
			t.Errorf("%s: an error of %d bytes", name, len(data))
		}
	}
}

// TestHostileHTTP: of requests that front ends and servers might take for different ones,
// each is refused or is one request, and nothing of a client's comes back as a header.
func TestHostileHTTP(t *testing.T) {
	a := attack(t)
	defer a.unharmed(64 << 20)
	const post = "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	const hidden = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for name, tc := range map[string]struct {
		text   string
		status []int // of the answers, until the connection ends
	}{
		"two lengths":                {post + "Content-Length: 4\r\nContent-Length: 60\r\n\r\nnull" + hidden, []int{400}},
		"a list of lengths":          {post + "Content-Length: 4, 60\r\n\r\nnull" + hidden, []int{400}},
		"a signed length":            {post + "Content-Length: +4\r\n\r\nnull" + hidden, []int{400}},
		"a length below zero":        {post + "Content-Length: -4\r\n\r\nnull" + hidden, []int{400}},
		"an unknown encoding":        {post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden, []int{501}},
		"two encodings":              {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden, []int{501}},
		"a blank before the colon":   {post + "Transfer-Encoding : chunked\r\nContent-Length: 4\r\n\r\nnull" + hidden, []int{400}},
		"a folded header":            {post + " folded: x\r\nContent-Length: 4\r\n\r\nnull" + hidden, []int{415, 200}}, // is one with a blank
		"an overflowing chunk":       {post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nnull\r\n0\r\n\r\n" + hidden, []int{400}},
		"a chunk with a bare return": {post + "Transfer-Encoding: chunked\r\n\r\n4\rX\r\nnull\r\n0\r\n\r\n" + hidden, []int{400}},
		"no host":                    {"GET /healthz HTTP/1.1\r\n\r\n" + hidden, []int{400}},
		"two hosts":                  {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n" + hidden, []int{400}},
		"a long header":              {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1<<18) + "\r\n\r\n", []int{431}},
		"no HTTP":                    {strings.Repeat("\x16\x03\x01\x02", 100) + "\r\n\r\n", []int{400}},
		// The encoding counts (RFC 9112, 6.3): the body is empty, and what comes then is a request.
		"an encoding and a length": {post + "Content-Length: 8\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, []int{400, 200}},
	} {
		c := a.dial(tc.text)
		if err := c.(*net.TCPConn).CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
			t.Errorf("%s: %v", name, err)
		}
		var got []int
		for in := bufio.NewReader(c); ; {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				break
			}
			got = append(got, res.StatusCode)
		}
		if fmt.Sprint(got) != fmt.Sprint(tc.status) {
			t.Errorf("%s: answers %v, want %v", name, got, tc.status)
		}
	}
	for _, text := range []string{
		"GET /v1/models/x%0d%0aX-Injected:%20yes HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /%0d%0aX-Injected:%20yes HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET //x%0d%0aX-Injected:%20yes/../y HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\n\r\n",
		post + "X-Request-Id: mine\r\nContent-Length: 44\r\n\r\n" + `{"model":"x\r\nX-Injected: yes","prompt":""}`,
	} {
		res, err := http.ReadResponse(bufio.NewReader(a.dial(text)), nil)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if id := res.Header.Get("X-Request-Id"); res.Header.Get("X-Injected") != "" || id == "mine" || id == "" {
			t.Errorf("%q: headers %v", text, res.Header)
		}
		res.Body.Close()
	}
}
