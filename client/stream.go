package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// mostEvents bounds an answer: more tokens than any context has.
const mostEvents = 1 << 22

// Stream is an answer in pieces. One goroutine may use it.
type Stream struct {
	Resent bool // the first connection had been closed

	ctx      context.Context // of the answer, for its cause
	body     io.ReadCloser
	cancel   context.CancelFunc
	in       *sseReader
	events   int
	finished bool // a reason for the end has come
	done     bool // and nothing else will
}

// Piece is one event of an answer.
type Piece struct {
	At     time.Time // when it came
	Text   string    // what it adds, thoughts included
	Choice bool      // it belongs to an answer, even without text
	Finish string    // why the answer ends: stop, length, …
	Usage  *Usage    // of the whole request
}

// Usage counts the tokens of a request.
type Usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Details    struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	Tiers *Tiers `json:"nosa"` // of a nosa server
}

// Tiers is what the tiers of a nosa server's cache did for a request.
type Tiers struct {
	Selected int64   `json:"selected_blocks"`
	Hits     int64   `json:"hits"`
	HostHits int64   `json:"host_hits"`
	DiskHits int64   `json:"disk_hits"`
	Prefill  float64 `json:"prefill_seconds"`
	Decode   float64 `json:"decode_seconds"`
}

// chunk is an event's data. Fields that a server leaves out, or sends as null, are zero.
type chunk struct {
	Choices []struct {
		Text  string `json:"text"`
		Delta struct {
			Content   string `json:"content"`
			Thought   string `json:"reasoning_content"`
			Reasoning string `json:"reasoning"` // the same by another name; some send both
		} `json:"delta"`
		Finish string `json:"finish_reason"`
	} `json:"choices"`
	Usage  *Usage          `json:"usage"`
	Object string          `json:"object"`
	Error  json.RawMessage `json:"error"`
}

// Next waits for a piece. At the end of a whole answer it returns io.EOF, and ErrCut if
// the answer is not whole.
func (s *Stream) Next() (Piece, error) {
	if s.done {
		return Piece{}, io.EOF
	}
	e, err := s.in.next()
	p := Piece{At: time.Now()}
	switch {
	case err != nil && s.ctx.Err() != nil:
		s.done = true
		return p, context.Cause(s.ctx)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if s.done = true; s.finished {
			return p, io.EOF
		}
		return p, ErrCut
	case err != nil:
		s.done = true
		return p, err
	case string(e.data) == "[DONE]":
		s.done = true
		return p, io.EOF
	}
	if s.events++; s.events > mostEvents {
		return p, fmt.Errorf("an answer of more than %d events %w", mostEvents, ErrTooLong)
	}
	var c chunk
	if err := json.Unmarshal(e.data, &c); err != nil {
		if e.name == "error" {
			return p, &StreamError{cut(string(e.data))}
		}
		return p, fmt.Errorf("an event of the stream, %.60q: %w", e.data, err)
	}
	if e.name == "error" || c.Object == "error" || len(c.Error) > 0 && string(c.Error) != "null" {
		return p, &StreamError{messageOf(e.data)}
	}
	for _, choice := range c.Choices {
		p.Choice = true
		p.Text += choice.Text + cmp.Or(choice.Delta.Thought, choice.Delta.Reasoning) + choice.Delta.Content
		if choice.Finish != "" {
			p.Finish, s.finished = choice.Finish, true
		}
	}
	p.Usage = c.Usage
	return p, nil
}

// Close ends the answer, whole or not. The connection of a whole one is kept.
func (s *Stream) Close() {
	if s.done {
		stop := time.AfterFunc(drainTime, s.cancel)
		_, _ = io.CopyN(io.Discard, s.in.in, 1<<10) // what follows the end is of no interest
		stop.Stop()
	}
	_ = s.body.Close() // it was only read
	s.cancel()
}
