package pagetest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var (
	shots = flag.String("shots", "", "a `folder` for pictures of the page")
	axe   = flag.String("axe", "", "the `file` axe.min.js of axe-core")
)

// TestPage: a person opens the page, has a chapter read, sees its blocks move through
// the tiers, cancels, and sees everything freed.
func TestPage(t *testing.T) {
	chapter, err := filepath.Abs(filepath.Join("..", "..", "models", "quarter-deck.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(chapter); err != nil {
		t.Skipf("%s is not there: run scripts/fetch-models", chapter)
	}
	url := serve(t, "--attention", "infllmv2", "--topk", "16", "--window", "512", "--context", "8192", "--sequences", "2", "--chunk", "128",
		"--kv-device", "32MiB", "--kv-host", "16MiB", "--kv-disk", t.TempDir())
	b := open(t, url)
	b.screen(1440, 900, "dark")
	b.until(`document.getElementById("model").textContent === "SmolLM2-135M-Instruct"`)
	b.until(`!document.getElementById("requests-none").hidden && !document.getElementById("map-empty").hidden`)
	b.shot("page-idle", false)
	b.audit("idle")
	b.do(chromedp.SetUploadFiles("#file", []string{chapter}))
	b.until(`document.getElementById("file-name").textContent.startsWith("quarter-deck.txt, 15.6 KiB")`)
	b.do(
		chromedp.SetValue("#max-tokens", "3000"),
		chromedp.Focus("#message"),
		typed("What does Ahab promise to the man who first sees the white whale, and what does Starbuck say to that?"),
		chromedp.Click("#send"),
	)

	// Its blocks come, and some leave their slots for the tiers below.
	b.until(`document.querySelector(".phase.prefill, .phase.decode")`)
	b.until(`document.getElementById("map-empty").hidden && !document.getElementById("map").hidden`)
	before := b.where()
	for deadline := time.Now().Add(patience); ; {
		left, tiers := 0, map[string]int{}
		for block, where := range b.where() {
			if strings.HasPrefix(before[block], "slot") && !strings.HasPrefix(where, "slot") {
				left++
			}
			tiers[where]++
		}
		if left > 0 && tiers["host"]+tiers["slot+host"]+tiers["host+disk"] > 0 && tiers["disk"] > 0 && tiers["open"] > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("of %d blocks, %d left their slots; there are now %v", len(before), left, tiers)
		}
	}
	b.until(`/blocks in each of 30 layers and 3 KV heads: [1-9][\d,]* slots, [1-9][\d,]* host, [1-9][\d,]* disk, 90 being written/.test(document.getElementById("map-summary").textContent)`)
	// So many that the last 32 steps were all of the answer.
	b.until(`parseInt(/^([\d,]+) of 3,000 tokens written/.exec(document.querySelector(".words").textContent)?.[1]) > 40`)
	for _, tier := range []string{"slots", "pages", "records"} {
		b.until(fmt.Sprintf(`[...document.querySelectorAll(".figures")].some((e) => /^[1-9][\d,]* of [\d,]+ %s/.test(e.textContent))`, tier))
	}
	b.until(`[...document.querySelectorAll("figure b")].slice(0, 4).every((e) => e.textContent !== "–")`)
	b.keyboardMap()
	eval[bool](b, "document.activeElement.blur(), true")
	for _, scheme := range []string{"dark", "light"} {
		b.screen(360, 740, scheme)
		if wide := eval[int](b, "document.documentElement.scrollWidth"); wide > 360 {
			t.Errorf("the page is %d pixels wide on a screen of 360", wide)
		}
		b.shot("page-360-"+scheme, true)
		b.audit(scheme + ", 360")
		b.screen(1440, 940, scheme)
		b.shot("page-"+scheme, false)
		b.audit(scheme)
	}

	// By the keyboard alone: to the button, and pressed.
	stops := b.walk()
	for _, want := range []string{"To the cache map", "#map-of", "mode", "#map", "Cancel request", "#message", "#stop"} {
		if !slices.ContainsFunc(stops, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("Tab does not come to %s: %q", want, stops)
		}
	}
	b.do(chromedp.Focus(".cancel"), chromedp.KeyEvent(kb.Enter))
	b.until(`/^Request [0-9a-f]{8} was cancelled/.test(document.getElementById("status").textContent)`)
	b.until(`!document.getElementById("requests-none").hidden && document.querySelectorAll("#requests tbody tr").length === 0`)
	b.until(`[...document.querySelectorAll(".assistant .facts")].at(-1).textContent === "cancelled"`)
	if s := b.state(); s.Held != 0 || len(s.Requests) != 0 {
		t.Errorf("after it was cancelled: %+v", s)
	}
	if focus := eval[string](b, "document.activeElement.id"); focus != "requests-title" {
		t.Errorf("the focus went to %q with its row", focus)
	}

	// The chat goes on.
	b.do(
		chromedp.Click("#chat-new"),
		chromedp.SetValue("#max-tokens", "12"),
		chromedp.Focus("#message"),
		typed("What is <b>a whale</b>?"),
		chromedp.KeyEvent(kb.Enter),
	)
	b.until(`/ \+ \d+ tokens · .*in slots/.test(document.querySelector(".assistant .facts")?.textContent)`)
	if got := eval[string](b, `document.querySelector(".user .body").textContent`); got != "What is <b>a whale</b>?" {
		t.Errorf("what was asked is shown as %q", got)
	}
	b.do(chromedp.SetValue("#map-of", "kept"))
	eval[bool](b, `document.getElementById("map-of").dispatchEvent(new Event("change"))`)
	b.until(`document.getElementById("map-of").value === "kept" && !document.getElementById("map").hidden`)
	b.shot("page-kept", false)
	b.clean("")
}

// typed is a text that somebody types at once.
func typed(text string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, input.InsertText, input.InsertTextParams{Text: text})
		return err
	})
}

// where is where the map's blocks are, by layer, head and number.
func (b *tab) where() map[string]string {
	b.Helper()
	return eval[map[string]string](b, `(async () => {
		const { cache, state } = await import('/page/api.js');
		const s = await state();
		const m = await cache(s.requests[0].id, 0, s.layers.length);
		const where = {};
		for (let row = 0; row < m.layers * m.heads; row++) {
			for (let column = 0; column < m.columns; column++) {
				const bits = m.cells[2 * (row * m.columns + column)];
				where[row + '/' + column] = ['slot', 'host', 'disk', 'open'].filter((_, i) => bits & (1 << i)).join('+');
			}
		}
		return where;
	})()`)
}

// keyboardMap reads the map block by block.
func (b *tab) keyboardMap() {
	b.Helper()
	b.do(chromedp.Focus("#map"), chromedp.KeyEvent(kb.ArrowRight))
	if got := b.text("map-readout"); !strings.HasPrefix(got, "Layer 0, head 0, block 1 (tokens 64–127): ") || !strings.Contains(got, "of the last 32 steps") {
		b.Errorf("the map says %q", got)
	}
	for range 3 {
		b.do(chromedp.KeyEvent(kb.PageDown))
	}
	b.do(chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Home))
	if got := b.text("map-readout"); !strings.HasPrefix(got, "Layer 3, head 1, block 0 (tokens 0–63): ") {
		b.Errorf("the map says %q", got)
	}
}

// walk presses Tab until the focus is back at the beginning, and says where it was. Each
// place must be seen to have it.
func (b *tab) walk() (stops []string) {
	b.Helper()
	eval[bool](b, "scrollTo(0, 0), document.querySelector('.skip').focus({ focusVisible: true }), true")
	for i := range 60 {
		if i > 0 {
			b.do(chromedp.KeyEvent(kb.Tab))
		}
		at := eval[string](b, `(() => {
			const e = document.activeElement;
			if (e === document.body) return '';
			const s = getComputedStyle(e.matches('.file input') ? e.parentElement : e);
			const seen = s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0;
			return (seen ? '' : 'unseen ') + [e.id && '#' + e.id, e.name, e.getAttribute('aria-label') ?? e.textContent.trim().slice(0, 40)].filter(Boolean).join(' ');
		})()`)
		if at == "" {
			return stops
		}
		if strings.HasPrefix(at, "unseen ") {
			b.Errorf("the focus is not seen at %s", at)
		}
		stops = append(stops, at)
	}
	b.Errorf("Tab does not come to an end: %q", stops)
	return stops
}

// audit asks axe-core, if it is there, for what those miss who do not see, or not well.
func (b *tab) audit(when string) {
	b.Helper()
	if *axe == "" {
		return
	}
	source, err := os.ReadFile(*axe)
	if err != nil {
		b.Fatal(err)
	}
	eval[bool](b, string(source)+"; true")
	faults := eval[[]string](b, `axe.run(document, { resultTypes: ['violations'] }).then((r) => r.violations.flatMap((v) => v.nodes.map((n) => v.id + ': ' + n.target + ': ' + n.failureSummary)))`)
	for _, f := range faults {
		b.Errorf("%s: %s", when, f)
	}
}

// TestKey: with keys the page asks for one, says when it is wrong, and forgets it.
func TestKey(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("alice 0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, serve(t, "--api-key-file", keys, "--context", "1024"))
	use := func(key string) {
		b.do(chromedp.SetValue("#key", key), chromedp.Focus("#key"), chromedp.KeyEvent(kb.Enter))
	}
	b.until(`document.getElementById("key-dialog").open`)
	if got := b.text("key-wrong"); got != "" {
		t.Errorf("before a key is given: %q", got)
	}
	b.audit("dialog")
	use("fedcba9876543210")
	b.until(`document.getElementById("key-wrong").textContent.includes("a key is needed")`)
	use("0123456789abcdef")
	b.until(`!document.getElementById("key-dialog").open && document.getElementById("model").textContent === "SmolLM2-135M-Instruct"`)
	b.clean("status of 401")
	b.do(chromedp.SetValue("#max-tokens", "3"), chromedp.Focus("#message"), typed("Call me"), chromedp.KeyEvent(kb.Enter))
	b.until(`/ \+ 3 tokens/.test(document.querySelector(".assistant .facts")?.textContent)`)
	b.clean("")
	b.do(chromedp.Click("#forget-key"))
	b.until(`document.getElementById("key-dialog")?.open`)
}
