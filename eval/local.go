package eval

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"nosa/chat"
	"nosa/engine"
	"nosa/tokenizer"
)

// Start starts an engine by a setting; change, if not nil, is given its options before. What it returns with the engine is closed
// after it.
type Start func(ctx context.Context, s Setting, change func(*engine.Options)) (*engine.Engine, io.Closer, error)

// Texts is how a model counts and cuts texts.
type Texts struct{ *engine.Source }

// Count is the tokens of a text, with those that begin one.
func (t Texts) Count(text string) int {
	ids, err := t.Encode(text, false)
	if err != nil {
		return len(text) // not UTF-8, or beyond what a tokenizer takes: too long in any case
	}
	return len(ids)
}

// Middle leaves out the middle of a text that has more tokens than most, as LongBench does: half of what may stay is its
// beginning, half its end.
func (t Texts) Middle(text string, most int) string {
	ids, err := t.Encode(text, false)
	if err != nil || len(ids) <= most {
		return text
	}
	half := most / 2
	return t.Tokenizer.Decode(ids[:half], true) + t.Tokenizer.Decode(ids[len(ids)-half:], true)
}

// local is an engine that answers, with others who ask at the same time.
type local struct {
	engine  *engine.Engine
	device  io.Closer
	service *engine.Service
	chat    bool
}

// NewLocal starts an engine that answers parallel questions of longest tokens at a time; as a chat, where the model's template
// makes a user's message of a question.
func NewLocal(ctx context.Context, start Start, s Setting, longest, parallel int, asChat bool) (Answerer, error) {
	parallel = max(parallel, 1)
	e, device, err := start(ctx, s, func(o *engine.Options) { o.Context, o.Sequences = longest, parallel })
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler) // a question that fails says so itself
	return &local{e, device, engine.NewService(e, engine.ServiceOptions{}, log), asChat}, nil
}

func (l *local) Close() error {
	l.service.Close()
	return errors.Join(l.engine.Close(), l.device.Close())
}

// prompt is the question in tokens.
func (l *local) prompt(ctx context.Context, s *Sample) ([]int32, error) {
	if !l.chat || s.plain {
		return l.engine.Encode(s.Prompt+s.Prefix, false)
	}
	text, err := l.engine.Render(ctx, []chat.Message{{Role: "user", Content: s.Prompt}})
	if err != nil {
		return nil, err
	}
	return l.engine.Encode(text+strings.TrimLeft(s.Prefix, " \n"), true)
}

// Ask answers with the most likely tokens.
func (l *local) Ask(ctx context.Context, s *Sample) (Answer, error) {
	ids, err := l.prompt(ctx, s)
	if err != nil {
		return Answer{}, err
	}
	most := l.engine.Plan().Context - len(ids)
	if most < 1 {
		return Answer{}, fmt.Errorf("the question takes %d tokens, the context has %d: %w", len(ids), l.engine.Plan().Context, ErrTask)
	}
	got, err := l.service.Submit(ctx, engine.Order{Request: engine.Request{
		IDs: ids, MaxTokens: min(s.MaxTokens, most), Stop: s.Stop, Continues: !l.chat || s.Prefix != "",
	}})
	if err != nil {
		return Answer{}, err
	}
	var text strings.Builder
	for {
		e, err := got.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			got.Cancel()
			return Answer{}, err
		}
		text.WriteString(e.Text)
	}
	usage, stats := got.Usage(), got.Stats()
	a := Answer{
		Text: text.String(), Prompt: usage.Prompt, Cached: usage.Shared, Completion: usage.Completion,
		Prefill: usage.Prefill.Seconds(), Decode: usage.Decode.Seconds(), Selected: stats.Total.Selected, Hits: stats.Total.Hits,
	}
	a.KVBytes, a.KVFullBytes = held(l.engine, stats.Live, max(usage.Prompt+usage.Completion-1, 1)) // nothing has read the last token
	return a, nil
}

// held is what so many blocks take, and what full attention holds of so many tokens. A block of either counts whole, in the
// cache's format, the last one of a sequence too.
func held(e *engine.Engine, blocks, tokens int) (bytes, full int64) {
	block, _ := e.Blocks()
	all := (tokens + block - 1) / block * e.Config.Layers * e.Config.KVHeads
	return int64(blocks) * e.Plan().BlockLen, int64(all) * e.Plan().BlockLen
}

// bookTokens is the running text in tokens, without any that begin or end one.
func bookTokens(e *engine.Engine, book string) ([]int32, error) {
	if e.Tokenizer == nil {
		return nil, fmt.Errorf("%w: %w", engine.ErrNoTokenizer, e.TokenizerErr)
	}
	return e.Tokenizer.TryEncode(nil, book, tokenizer.EncodeOptions{})
}
