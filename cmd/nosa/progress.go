package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

const (
	redraw     = 100 * time.Millisecond // of a bar on a terminal
	lineEvery  = 10 * time.Second       // between the lines that stand for a bar elsewhere
	rateWindow = 10 * time.Second       // the rate is that of the last while: a pause shows, the start is forgotten
	rateStep   = 250 * time.Millisecond // between two samples of it
)

// progress tells on stderr how far something is, how fast, and how long it will take: a bar on a terminal, a line now
// and then elsewhere, nothing with --quiet. Its methods may be called from any goroutine, and on a nil progress.
type progress struct {
	g     *Globals
	what  string
	unit  string // "bytes" are shown in binary units, anything else is counted
	bars  *mpb.Progress
	bar   *mpb.Bar
	tty   *console
	quiet bool

	mu      sync.Mutex
	done    int64
	total   int64 // 0: not known
	note    string
	samples []sample
	drawn   time.Time
	ended   bool
}

type sample struct {
	at   time.Time
	done int64
}

// newProgress begins to tell about what, of which total units are to come. Finish must end it.
func newProgress(g *Globals, what string, total int64, unit string) *progress {
	p := &progress{g: g, what: printable(what, 40), unit: unit, total: max(total, 0), quiet: g.Quiet}
	now := time.Now()
	p.drawn = now
	f := g.Stderr.terminal()
	if p.quiet || f == nil || g.Getenv("TERM") == "dumb" {
		return p
	}
	p.tty = &console{file: f}
	p.bars = mpb.New(mpb.WithConsoleWriter(p.tty), mpb.WithRefreshRate(redraw))
	style := mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─")
	if g.Color(g.Stderr) {
		paint := func(s string) string { return "\x1b[36m" + s + "\x1b[0m" }
		style = style.FillerMeta(paint).TipMeta(paint)
	}
	p.bar = p.bars.New(p.total, style, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(p.what+" ")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + p.text() })))
	g.Stderr.divert(p.bars)
	return p
}

// Set tells how many units are done, all in all.
func (p *progress) Set(done int64) { p.set(done, -1, "") }

// Note tells the same, for a total that may have changed, and with a word on what is going on.
func (p *progress) Note(done, total int64, note string) { p.set(done, max(total, 0), note) }

func (p *progress) set(done, total int64, note string) {
	if p == nil || p.quiet {
		return
	}
	now := time.Now()
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return
	}
	p.done, p.note = done, printable(note, 40)
	if total >= 0 {
		p.total = total
	}
	p.sample(now)
	every := lineEvery
	if p.bar != nil {
		every = redraw / 2
	}
	due := now.Sub(p.drawn) >= every
	if due {
		p.drawn = now
	}
	total = p.total
	p.mu.Unlock() // the bar asks for text, under the lock, before it takes a number
	switch {
	case !due:
	case p.bar == nil:
		p.g.Stderr.Printf("%s: %s\n", p.what, p.text())
	default:
		p.bar.SetTotal(max(total, done+1), false) // a bar that is full ends by itself: Finish ends this one
		p.bar.SetCurrent(done)
	}
}

// Finish takes the bar away. What has been done is the command's to say.
func (p *progress) Finish() {
	if p == nil || p.quiet {
		return
	}
	p.mu.Lock()
	ended := p.ended
	p.ended = true
	p.mu.Unlock()
	if ended || p.bar == nil {
		return
	}
	p.g.Stderr.divert(nil)
	p.bar.Abort(true)
	p.bars.Wait()
	p.tty.clear()
}

// console is a terminal with lines that are drawn again and again. Each drawing begins at the left edge, since what a
// user types, ^C above all, has moved the cursor, and is one write, so that nothing flickers.
type console struct {
	bytes.Buffer
	file  *os.File
	lines int // of the last drawing, which the next one covers
}

func (c *console) IsTerminal() bool                            { return true }
func (c *console) GetTermSize() (width, height int, err error) { return term.GetSize(int(c.file.Fd())) }

// Flush draws what has been written, whose last lines are to be covered next time.
func (c *console) Flush(lines int) error {
	_, err := c.file.WriteString(c.cover() + c.String())
	c.Reset()
	c.lines = lines
	return err
}

// cover goes back to where the last drawing began, and erases it.
func (c *console) cover() string {
	if c.lines == 0 {
		return ""
	}
	return fmt.Sprintf("\r\x1b[%dA\x1b[J", c.lines)
}

// clear takes the last drawing away.
func (c *console) clear() {
	_, _ = c.file.WriteString(c.cover()) // a terminal that is gone shows nothing anyway
	c.lines = 0
}

// sample keeps the recent past; the caller holds the lock. Going back, as a download that starts anew does, forgets it.
func (p *progress) sample(now time.Time) {
	if n := len(p.samples); n > 0 {
		if p.done < p.samples[n-1].done {
			p.samples = p.samples[:0]
		} else if n > 1 && now.Sub(p.samples[n-2].at) < rateStep {
			p.samples = p.samples[:n-1] // the last one is always the present
		}
	}
	p.samples = append(p.samples, sample{now, p.done})
	for len(p.samples) > 2 && now.Sub(p.samples[1].at) >= rateWindow {
		p.samples = p.samples[1:]
	}
}

// rate is units per second over the window, 0 if that can not be told yet; the caller holds the lock.
func (p *progress) rate() float64 {
	if len(p.samples) < 2 {
		return 0
	}
	a, b := p.samples[0], p.samples[len(p.samples)-1]
	d := b.at.Sub(a.at).Seconds()
	if d < rateStep.Seconds() {
		return 0
	}
	return float64(b.done-a.done) / d
}

// text is how far, how fast, and how long still.
func (p *progress) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	parts := []string{p.count(p.done)}
	rate := p.rate()
	if p.total > 0 {
		total := p.count(p.total)
		if rate > 0 { // names the unit as well, and 80 columns are few
			total = p.bare(p.total)
		}
		parts[0] = fmt.Sprintf("%3d%%  %s of %s", int(100*float64(p.done)/float64(p.total)), p.bare(p.done), total)
	}
	if rate > 0 {
		speed := p.count(int64(rate)) + "/s"
		if p.unit != "bytes" && rate < 10 { // slow ones are few whole numbers
			speed = fmt.Sprintf("%.2f %s/s", rate, p.unit)
		}
		parts = append(parts, speed)
		if left := float64(p.total-p.done) / rate; p.total > p.done && left < 100*3600 {
			parts = append(parts, timeText(time.Duration(left*float64(time.Second)))+" left")
		}
	}
	if p.note != "" {
		parts = append(parts, p.note)
	}
	return strings.TrimLeft(strings.Join(parts, ", "), " ")
}

func (p *progress) count(n int64) string {
	if p.unit == "bytes" {
		return sizeText(n)
	}
	return fmt.Sprintf("%d %s", n, p.unit)
}

// bare is a count whose unit follows later.
func (p *progress) bare(n int64) string {
	if p.unit == "bytes" {
		return sizeText(n)
	}
	return fmt.Sprint(n)
}

// timeText is a duration for people: two units at most.
func timeText(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	switch h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60; {
	case h > 0:
		return fmt.Sprintf("%dh%02dm", h, m)
	case m > 0:
		return fmt.Sprintf("%dm%02ds", m, s)
	default:
		return fmt.Sprintf("%ds", s)
	}
}
