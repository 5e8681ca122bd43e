package pagetest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long anything may take that is waited for.
const patience = 3 * time.Minute

// serve runs `nosa serve` and returns its address.
func serve(t *testing.T, args ...string) (url string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	model := filepath.Join(root, "models", "SmolLM2-135M-Instruct.gguf")
	if _, err := os.Stat(model); err != nil {
		t.Skipf("%s is not there: run scripts/fetch-models", model)
	}
	binary := filepath.Join(t.TempDir(), "nosa")
	build := exec.Command("go", "build", "-o", binary, "./cmd/nosa")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(binary, append([]string{"serve", model, "--addr", "127.0.0.1:0", "--drain", "1s"}, args...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		address := regexp.MustCompile(`http://[0-9.:]+`)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if url := address.FindString(lines.Text()); url != "" {
				select {
				case found <- url:
				default:
				}
			}
		}
		close(found)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("nosa serve: %v", err)
		}
	})
	select {
	case url, ok := <-found:
		if !ok {
			t.Fatal("nosa serve ended before it said where it is")
		}
		return url
	case <-time.After(patience):
		t.Fatal("nosa serve does not say where it is")
	}
	return ""
}

// tab is a page in a browser. What goes wrong in it fails the test.
type tab struct {
	*testing.T
	ctx context.Context
	url string

	mu     sync.Mutex
	faults []string
}

func open(t *testing.T, url string) *tab {
	t.Helper()
	var browser string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Skip("no chromium is installed")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &tab{T: t, ctx: ctx, url: url}
	if err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *cdplog.EventEntryAdded: // refusals of the policy and failed requests among them
			b.fault("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		case *runtime.EventExceptionThrown:
			b.fault("exception: %+v", e.ExceptionDetails)
		case *runtime.EventConsoleAPICalled:
			b.fault("console: %s %+v", e.Type, e.Args)
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, url+"/") {
				b.fault("it asks %s", e.Request.URL)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, cdplog.Enable, cdp.Empty{})
	call(b, runtime.Enable, cdp.Empty{})
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: goOn})
	b.do(chromedp.Navigate(url + "/"))
	return b
}

// goOn has answers go on past the token that ends them, so that a long one is long
// whatever the model says.
const goOn = `{
	const send = fetch;
	globalThis.fetch = (path, options) => {
		if (path === '/v1/chat/completions') options.body = JSON.stringify({ ...JSON.parse(options.body), ignore_eos: true });
		return send(path, options);
	};
}`

func (b *tab) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

// clean fails the test with what has gone wrong, but for faults that are expected.
func (b *tab) clean(but string) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		if but == "" || !strings.Contains(f, but) {
			b.Error(f)
		}
	}
	b.faults = nil
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	result(b, chromedp.Steps(steps...))
}

// result is what an action comes to.
func result[T any](b *tab, a chromedp.Action[T]) T {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// call has the browser carry out a command.
func call[P, R any](b *tab, c cdp.Command[P, R], params P) R {
	b.Helper()
	v, err := chromedp.Call(b.ctx, c, params)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// eval is the value of an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.Helper()
	return result(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// until waits for an expression in the page to be true.
func (b *tab) until(expression string) {
	b.Helper()
	for deadline := time.Now().Add(patience); !eval[bool](b, "!!("+expression+")"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("it does not come that %s; the page says: %s", expression, eval[string](b, "document.body.innerText"))
		}
	}
}

// text is what an element says.
func (b *tab) text(id string) string {
	b.Helper()
	return eval[string](b, fmt.Sprintf("document.getElementById(%q).textContent", id))
}

// state is what the server says of itself.
func (b *tab) state() (s struct {
	Held     int `json:"held_blocks"`
	Requests []struct{ ID string }
}) {
	b.Helper()
	res, err := http.Get(b.url + "/nosa/state")
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		b.Fatal(err)
	}
	return s
}

// screen makes the window so large, and the system dark or light.
func (b *tab) screen(width, height int64, scheme string) {
	b.Helper()
	b.do(chromedp.EmulateViewport(width, height))
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	// Two frames later all is drawn anew.
	eval[bool](b, "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
}

// shot keeps a picture, if that was asked for.
func (b *tab) shot(name string, whole bool) {
	b.Helper()
	if *shots == "" {
		return
	}
	take := chromedp.CaptureScreenshot()
	if whole {
		take = chromedp.FullScreenshot(100)
	}
	picture := result(b, take)
	if err := os.MkdirAll(*shots, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), picture, 0o644); err != nil {
		b.Fatal(err)
	}
}
