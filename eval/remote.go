package eval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"nosa/client"
)

// remote is a server that answers.
type remote struct {
	client *client.Client
	model  string
	chat   bool
}

// NewRemote asks a model of a server; as a chat, each question is a user's message, with the beginning of the answer at its end.
// Close leaves the client open.
func NewRemote(c *client.Client, model string, asChat bool) Answerer {
	return &remote{c, model, asChat}
}

func (r *remote) Close() error { return nil }

// Texts that no tokenizer is at hand for are counted so many bytes to a token.
const bytesPerToken = 4

// Estimate counts and cuts texts where there is no tokenizer: four bytes are a token, which is near what English has. Numbers and
// UUIDs take about twice as many.
type Estimate struct{}

// Count is the tokens of a text, more or less.
func (Estimate) Count(text string) int { return (len(text) + bytesPerToken - 1) / bytesPerToken }

// Middle leaves out the middle of a text.
func (Estimate) Middle(text string, most int) string {
	half := most * bytesPerToken / 2
	if len(text) <= 2*half {
		return text
	}
	return strings.ToValidUTF8(text[:half]+text[len(text)-half:], "")
}

// mostAnswer bounds what a server sends for an answer.
const mostAnswer = 1 << 20

// Ask asks for the most likely tokens.
func (r *remote) Ask(ctx context.Context, s *Sample) (Answer, error) {
	body := map[string]any{
		"model": r.model, "max_tokens": s.MaxTokens, "temperature": 0, "stream": true, "stream_options": map[string]bool{"include_usage": true},
	}
	if len(s.Stop) > 0 {
		body["stop"] = s.Stop
	}
	path := client.Completions
	if r.chat {
		path = client.Chat
		body["messages"] = []map[string]string{{"role": "user", "content": s.Prompt + s.Prefix}}
	} else {
		body["prompt"] = s.Prompt + s.Prefix
	}
	data, err := json.Marshal(body)
	if err != nil {
		return Answer{}, err
	}
	sent := time.Now()
	stream, err := r.client.Stream(ctx, path, data)
	if err != nil {
		return Answer{}, err
	}
	defer stream.Close()
	var a Answer
	var text strings.Builder
	var first time.Time
	var tiers *client.Tiers // of a nosa server
	for {
		p, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Answer{}, err
		}
		if text.WriteString(p.Text); text.Len() > mostAnswer {
			return Answer{}, fmt.Errorf("an answer of more than %d bytes %w", mostAnswer, client.ErrTooLong)
		}
		if first.IsZero() && p.Text != "" {
			first = p.At
			a.Prefill = first.Sub(sent).Seconds()
		}
		if u := p.Usage; u != nil {
			a.Prompt, a.Completion, a.Cached = u.Prompt, u.Completion, u.Details.Cached
			tiers = u.Tiers
		}
	}
	if !first.IsZero() {
		a.Decode = time.Since(first).Seconds()
	}
	if tiers != nil { // which knows better than a clock at this end
		a.Selected, a.Hits, a.Prefill, a.Decode = tiers.Selected, tiers.Hits, tiers.Prefill, tiers.Decode
	}
	a.Text = text.String()
	return a, nil
}
