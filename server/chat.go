package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"nosa/engine"
)

// chatRequest is the body of POST /v1/chat/completions.
type chatRequest struct {
	params
	Messages            messages `json:"messages"`
	MaxCompletionTokens *whole   `json:"max_completion_tokens"`
	LogProbs            bool     `json:"logprobs"`
	TopLogProbs         *whole   `json:"top_logprobs"`

	Modalities     []string        `json:"modalities"`
	ResponseFormat json.RawMessage `json:"response_format"`
	Tools          json.RawMessage `json:"tools"`
	ToolChoice     json.RawMessage `json:"tool_choice"`
	Parallel       json.RawMessage `json:"parallel_tool_calls"`
	Functions      json.RawMessage `json:"functions"`
	FunctionCall   json.RawMessage `json:"function_call"`
	Audio          json.RawMessage `json:"audio"`
	Prediction     json.RawMessage `json:"prediction"`
	Reasoning      json.RawMessage `json:"reasoning_effort"`
	Verbosity      json.RawMessage `json:"verbosity"`
	WebSearch      json.RawMessage `json:"web_search_options"`
	TemplateArgs   templateArgs    `json:"chat_template_kwargs"`
	Structured     json.RawMessage `json:"structured_outputs"`
}

// unsupported refuses what would change the answer and is not done.
func (c *chatRequest) unsupported() error {
	is := func(raw json.RawMessage, harmless ...string) bool {
		for _, h := range harmless {
			if strings.TrimSpace(string(raw)) == h {
				return false
			}
		}
		return given(raw)
	}
	var format struct {
		Type string `json:"type"`
	}
	if given(c.ResponseFormat) {
		if err := json.Unmarshal(c.ResponseFormat, &format); err != nil || format.Type != "text" {
			return unsupported("response_format", ": structured output is not there yet; leave it out, or say {\"type\":\"text\"}")
		}
	}
	for _, m := range c.Modalities {
		if m != "text" {
			return unsupported("modalities", " but for text")
		}
	}
	for _, p := range []struct {
		name string
		bad  bool
	}{
		{"tools", is(c.Tools, "[]")}, {"tool_choice", is(c.ToolChoice, `"none"`, `"auto"`)}, {"functions", is(c.Functions, "[]")},
		{"function_call", is(c.FunctionCall, `"none"`, `"auto"`)}, {"audio", is(c.Audio)}, {"prediction", is(c.Prediction)},
		{"reasoning_effort", is(c.Reasoning, `"none"`)}, {"verbosity", is(c.Verbosity, `"medium"`)}, {"web_search_options", is(c.WebSearch)},
		{"structured_outputs", is(c.Structured)},
	} {
		if p.bad {
			return unsupported(p.name, "")
		}
	}
	return nil
}

// conversationIDs is a conversation as the model reads it.
func (s *Server) conversationIDs(ctx context.Context, messages messages, args templateArgs) ([]int32, error) {
	if len(messages) == 0 {
		return nil, invalid("messages", "there are no messages: want 1 to %d", maxMessages)
	}
	if err := s.checkTemplateArgs(args); err != nil {
		return nil, err
	}
	text, err := s.Engine.RenderWith(ctx, messages, args.Object)
	if err != nil {
		return nil, invalid("messages", "the model's chat template: %v", err)
	}
	return s.Engine.Encode(text, true)
}

type chatResponse struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"`
	Model   string       `json:"model"`
	Choices []chatChoice `json:"choices"`
	Usage   *usage       `json:"usage,omitempty"`
}

type chatChoice struct {
	Index    int           `json:"index"`
	Message  *chatMessage  `json:"message,omitempty"`
	Delta    *chatMessage  `json:"delta,omitempty"`
	LogProbs *chatLogProbs `json:"logprobs"`
	Finish   *string       `json:"finish_reason"`
}

type chatMessage struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

type chatLogProbs struct {
	Content []chatToken `json:"content"`
}

type chatToken struct {
	Token   string      `json:"token"`
	LogProb float64     `json:"logprob"`
	Bytes   []int       `json:"bytes"`
	Top     []chatToken `json:"top_logprobs,omitempty"`
}

func (s *Server) chatToken(id int32, p float64) chatToken {
	raw := s.tokenBytes(id)
	t := chatToken{Token: string([]rune(string(raw))), LogProb: logProb(p), Bytes: make([]int, len(raw))}
	for i, b := range raw {
		t.Bytes[i] = int(b)
	}
	return t
}

func (s *Server) chatTokens(tokens []engine.Token) []chatToken {
	out := make([]chatToken, 0, len(tokens))
	for _, tok := range tokens {
		t := s.chatToken(tok.ID, tok.LogProb)
		for _, top := range tok.Top {
			t.Top = append(t.Top, s.chatToken(top.ID, top.LogProb))
		}
		out = append(out, t)
	}
	return out
}

// chatCompletions answers POST /v1/chat/completions.
func (s *Server) chatCompletions(w http.ResponseWriter, r *http.Request) {
	var c chatRequest
	order, err := s.chatOrder(w, r, &c)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	a, err := s.ask(r, []engine.Order{order})
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer a.close()
	if c.Stream {
		s.chatStream(w, r, &c, a)
		return
	}
	res := chatResponse{Object: "chat.completion", Model: s.Model, Choices: make([]chatChoice, order.Choices)}
	res.ID, res.Created = newAnswerID("chatcmpl-")
	texts := make([]strings.Builder, order.Choices)
	for i := range res.Choices {
		res.Choices[i].Index = i
		if c.LogProbs {
			res.Choices[i].LogProbs = &chatLogProbs{Content: []chatToken{}}
		}
	}
	err = s.follow(r, a, func(n news) error {
		texts[n.choice].WriteString(n.Text)
		if p := res.Choices[n.choice].LogProbs; p != nil {
			p.Content = append(p.Content, s.chatTokens(n.Tokens)...)
		}
		if n.Finish != "" {
			res.Choices[n.choice].Finish = &n.Finish
		}
		return nil
	}, func() error { return nil })
	if err != nil {
		s.fail(s.newEvents(w), r, err)
		return
	}
	for i := range texts {
		text := texts[i].String()
		res.Choices[i].Message = &chatMessage{Role: "assistant", Content: &text}
	}
	u := usageOf(a.answers)
	res.Usage = &u
	writeJSON(w, http.StatusOK, res)
}

// chatOrder reads a request and makes what the engine takes of it.
func (s *Server) chatOrder(w http.ResponseWriter, r *http.Request, c *chatRequest) (o engine.Order, err error) {
	if err := decode(w, r, c); err != nil {
		return o, err
	}
	if err := s.checkModel(c.Model); err != nil {
		return o, err
	}
	if err := c.unsupported(); err != nil {
		return o, err
	}
	if err := s.needText(); err != nil {
		return o, err
	}
	ids, err := s.conversationIDs(r.Context(), c.Messages, c.TemplateArgs)
	if err != nil {
		return o, err
	}
	if c.MaxCompletionTokens != nil {
		if *c.MaxCompletionTokens < 0 {
			return o, invalid("max_completion_tokens", "max_completion_tokens %d: want 0 or more", *c.MaxCompletionTokens)
		}
		if most, other := s.Engine.Plan().Context, c.MaxTokens.or(0); other < 0 || other > most { // which counts for nothing, and is wrong all the same
			return o, invalid("max_tokens", "max_tokens %d: want 0 to %d", other, most)
		}
		c.MaxTokens = c.MaxCompletionTokens
	}
	if o, err = s.order(&c.params, ids, 0); err != nil {
		return o, err
	}
	if o.LogProbs = c.LogProbs; c.TopLogProbs != nil {
		if !c.LogProbs {
			return o, invalid("top_logprobs", "top_logprobs needs logprobs")
		}
		if *c.TopLogProbs < 0 || *c.TopLogProbs > engine.MaxTop {
			return o, invalid("top_logprobs", "top_logprobs %d: want 0 to %d", *c.TopLogProbs, engine.MaxTop)
		}
		o.TopLogProbs = int(*c.TopLogProbs)
	}
	return o, nil
}

// chatStream answers in pieces.
func (s *Server) chatStream(w http.ResponseWriter, r *http.Request, c *chatRequest, a *asking) {
	e := s.newEvents(w)
	chunk := chatResponse{Object: "chat.completion.chunk", Model: s.Model}
	chunk.ID, chunk.Created = newAnswerID("chatcmpl-")
	begun := make([]bool, a.choices)
	sent := 0
	err := s.follow(r, a, func(n news) error {
		sent += len(n.Tokens)
		choice := chatChoice{Index: n.choice, Delta: &chatMessage{}}
		if !begun[n.choice] {
			begun[n.choice] = true
			choice.Delta.Role = "assistant"
		}
		if n.Text != "" || choice.Delta.Role != "" {
			choice.Delta.Content = &n.Text
		}
		if c.LogProbs {
			choice.LogProbs = &chatLogProbs{Content: s.chatTokens(n.Tokens)}
		}
		if n.Finish != "" {
			choice.Finish = &n.Finish
		}
		if n.Text == "" && n.Finish == "" && choice.Delta.Role == "" && len(n.Tokens) > 0 && !c.LogProbs {
			return nil // what it adds to the text is held back
		}
		chunk.Choices, chunk.Usage = []chatChoice{choice}, c.StreamOptions.usageSoFar(a, sent)
		return e.send(chunk)
	}, e.alive)
	s.endStream(e, r, err, c.StreamOptions, func() any {
		u := usageOf(a.answers)
		chunk.Choices, chunk.Usage = []chatChoice{}, &u
		return chunk
	})
}
