package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"nosa/chat"
	"nosa/client"
)

// serverPartner is a model behind a server of the OpenAI API.
type serverPartner struct {
	cmd    *ChatCmd
	client *client.Client
	model  string
}

// openServer finds out what the server has.
func (c *ChatCmd) openServer(ctx context.Context, g *Globals) (partner, error) {
	cl, err := c.connect(g, c.Server, 1)
	if err != nil {
		return nil, err
	}
	model, err := c.model(ctx, cl)
	if err != nil {
		cl.Close()
		return nil, err
	}
	if !g.JSON {
		g.note("%s on %s", printable(model, maxCell), cl.Address())
	}
	return &serverPartner{c, cl, model}, nil
}

func (s *serverPartner) close() error {
	s.client.Close()
	return nil
}

// mostAnswer bounds an answer in bytes.
const mostAnswer = 64 << 20

// answer implements partner.
func (s *serverPartner) answer(ctx context.Context, messages []chat.Message, emit func(string) error) (turn, error) {
	got := turn{prompt: -1}
	body, err := s.body(messages)
	if err != nil {
		return got, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.cmd.Timeout, fmt.Errorf("there was no whole answer after %s (--timeout)", s.cmd.Timeout))
	defer cancel()
	began := time.Now()
	in, err := s.client.Stream(ctx, client.Chat, body)
	if err != nil {
		return got, fmt.Errorf("%s: %w", s.client.Address(), err)
	}
	defer in.Close()
	var said strings.Builder
	var first time.Time
	for {
		p, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && said.Len()+len(p.Text) > mostAnswer {
			err = fmt.Errorf("an answer of more than %d MiB %w", mostAnswer>>20, client.ErrTooLong)
		}
		if err != nil {
			got.text = said.String()
			return got, fmt.Errorf("%s: %w", s.client.Address(), err)
		}
		if p.Text != "" {
			if got.generated++; first.IsZero() {
				first = p.At
				got.prefill = first.Sub(began)
			}
			got.decode = p.At.Sub(first)
			said.WriteString(p.Text)
			if err := emit(p.Text); err != nil {
				return got, err
			}
		}
		if p.Finish != "" {
			got.finish = p.Finish
		}
		if u := p.Usage; u != nil {
			got.prompt, got.cached, got.generated = max(u.Prompt, 0), u.Details.Cached, max(u.Completion, 0)
			if t := u.Tiers; t != nil {
				got.tiers = &tierCounts{t.Selected, t.Hits, t.HostHits, t.DiskHits}
			}
		}
	}
	got.text = said.String()
	return got, nil
}

// body is the request of a conversation.
func (s *serverPartner) body(messages []chat.Message) ([]byte, error) {
	said := make([]map[string]any, len(messages))
	for i, m := range messages {
		said[i] = map[string]any{"role": m.Role, "content": m.Content}
	}
	body := map[string]any{
		"model": s.model, "messages": said, "max_tokens": s.cmd.MaxTokens, "temperature": s.cmd.Temp,
		"stream": true, "stream_options": map[string]bool{"include_usage": true},
	}
	if s.cmd.TopP != 1 {
		body["top_p"] = s.cmd.TopP
	}
	if s.cmd.TopK > 0 { // servers other than OpenAI's know it
		body["top_k"] = s.cmd.TopK
	}
	if s.cmd.Seed != 0 {
		body["seed"] = s.cmd.Seed
	}
	return json.Marshal(body)
}

// stats implements partner.
func (s *serverPartner) stats(w *Output, last turn) {
	if last.tiers == nil {
		w.Printf("the server says nothing of its cache but that %d of %d prompt tokens came from it\n", last.cached, max(last.prompt, 0))
		return
	}
	n := last.tiers
	t := newTable("tier", "blocks read", "of selections")
	for _, row := range []struct {
		name string
		n    int64
	}{{"device", n.Hits}, {"host", n.HostHits}, {"disk", n.DiskHits}} {
		t.row(row.name, fmt.Sprint(row.n), fmt.Sprintf("%.2f%%", 100*float64(row.n)/float64(max(n.Selected, 1))))
	}
	t.write(w)
}
