package server

import (
	"encoding/json"
	"net/http"
	"strings"

	"nosa/engine"
)

// completionRequest is the body of POST /v1/completions.
type completionRequest struct {
	params
	Prompt   prompts         `json:"prompt"`
	Echo     bool            `json:"echo"`
	LogProbs *whole          `json:"logprobs"`
	BestOf   *whole          `json:"best_of"`
	Suffix   json.RawMessage `json:"suffix"`
	Format   json.RawMessage `json:"response_format"`
}

// completionDefault is how many tokens an answer has that nothing is said of, as
// OpenAI's.
const completionDefault = 16

type completionResponse struct {
	ID      string             `json:"id"`
	Object  string             `json:"object"`
	Created int64              `json:"created"`
	Model   string             `json:"model"`
	Choices []completionChoice `json:"choices"`
	Usage   *usage             `json:"usage,omitempty"`
}

type completionChoice struct {
	Index    int                 `json:"index"`
	Text     string              `json:"text"`
	LogProbs *completionLogProbs `json:"logprobs"`
	Finish   *string             `json:"finish_reason"`
}

// completionLogProbs has an entry a token in each list.
type completionLogProbs struct {
	Tokens  []string             `json:"tokens"`
	Values  []*float64           `json:"token_logprobs"`
	Top     []map[string]float64 `json:"top_logprobs"`
	Offsets []int                `json:"text_offset"`
	at      int
}

func (s *Server) addLogProbs(l *completionLogProbs, tokens []engine.Token) {
	for _, t := range tokens {
		text := s.tokenText(t.ID)
		var value *float64
		var top map[string]float64
		if t.LogProb == t.LogProb { // a prompt's first token has none
			v := logProb(t.LogProb)
			value, top = &v, map[string]float64{}
			for _, p := range t.Top {
				top[s.tokenText(p.ID)] = logProb(p.LogProb)
			}
			if len(t.Top) > 0 {
				top[text] = v
			}
		}
		l.Tokens, l.Values, l.Top = append(l.Tokens, text), append(l.Values, value), append(l.Top, top)
		l.Offsets = append(l.Offsets, l.at)
		l.at += len([]rune(text))
	}
}

// completions answers POST /v1/completions.
func (s *Server) completions(w http.ResponseWriter, r *http.Request) {
	var c completionRequest
	orders, err := s.completionOrders(w, r, &c)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	a, err := s.ask(r, orders)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer a.close()
	if c.Stream {
		s.completionStream(w, r, &c, orders, a)
		return
	}
	res := completionResponse{Object: "text_completion", Model: s.Model, Choices: make([]completionChoice, len(orders)*a.choices)}
	res.ID, res.Created = newAnswerID("cmpl-")
	texts := make([]strings.Builder, len(res.Choices))
	tokens := make([][]engine.Token, len(res.Choices))
	err = s.follow(r, a, func(n news) error {
		texts[n.choice].WriteString(n.Text)
		tokens[n.choice] = append(tokens[n.choice], withEnd(n.Event)...)
		if n.Finish != "" {
			res.Choices[n.choice].Finish = &n.Finish
		}
		return nil
	}, func() error { return nil })
	if err != nil {
		s.fail(s.newEvents(w), r, err)
		return
	}
	for i := range res.Choices {
		choice := &res.Choices[i]
		choice.Index = i
		prompt := i / a.choices
		if c.Echo {
			choice.Text = s.echo(&c, prompt, orders[prompt].IDs)
		}
		choice.Text += texts[i].String()
		if c.LogProbs != nil {
			choice.LogProbs = newLogProbs()
			if c.Echo {
				s.addLogProbs(choice.LogProbs, a.answers[prompt].Prompt())
			}
			s.addLogProbs(choice.LogProbs, tokens[i])
		}
	}
	u := usageOf(a.answers)
	res.Usage = &u
	writeJSON(w, http.StatusOK, res)
}

// withEnd is an event's tokens with the one that ended the choice, which lists of
// log-probabilities have and the text has not: those who read them count on a token
// more than the prompt has.
func withEnd(e engine.Event) []engine.Token {
	if e.End == nil {
		return e.Tokens
	}
	return append(e.Tokens[:len(e.Tokens):len(e.Tokens)], *e.End)
}

func newLogProbs() *completionLogProbs {
	return &completionLogProbs{Tokens: []string{}, Values: []*float64{}, Top: []map[string]float64{}, Offsets: []int{}}
}

// echo is a prompt as the answer repeats it.
func (s *Server) echo(c *completionRequest, prompt int, ids []int32) string {
	if c.Prompt.texts != nil {
		return c.Prompt.texts[prompt]
	}
	return s.Engine.Tokenizer.Decode(ids, false)
}

// completionOrders reads a request and makes what the engine takes of it.
func (s *Server) completionOrders(w http.ResponseWriter, r *http.Request, c *completionRequest) ([]engine.Order, error) {
	if err := decode(w, r, c); err != nil {
		return nil, err
	}
	if err := s.checkModel(c.Model); err != nil {
		return nil, err
	}
	if err := s.needText(); err != nil {
		return nil, err
	}
	switch {
	case given(c.Suffix):
		return nil, unsupported("suffix", ": the model continues a text, and fills no gap")
	case given(c.Format):
		return nil, unsupported("response_format", ": structured output is not there yet")
	case c.BestOf != nil && int(*c.BestOf) != c.N.or(1):
		return nil, unsupported("best_of", " but for the same number as n")
	case c.LogProbs != nil && (*c.LogProbs < 0 || *c.LogProbs > engine.MaxTop):
		return nil, invalid("logprobs", "logprobs %d: want 0 to %d", *c.LogProbs, engine.MaxTop)
	case c.Stream && c.Echo && c.LogProbs != nil:
		return nil, unsupported("stream", " together with echo and logprobs")
	}
	if c.Prompt.len() == 0 {
		return nil, invalid("prompt", "prompt is not there: want 1 to %d", maxPrompts)
	}
	var orders []engine.Order
	for i := range c.Prompt.len() {
		ids, err := s.promptIDs("prompt", &c.Prompt, i)
		if err != nil {
			return nil, err
		}
		o, err := s.order(&c.params, ids, completionDefault)
		if err != nil {
			return nil, err
		}
		o.Continues = true
		if o.LogProbs = c.LogProbs != nil; o.LogProbs {
			o.TopLogProbs, o.PromptLogProbs = int(*c.LogProbs), c.Echo
		}
		orders = append(orders, o)
	}
	return orders, nil
}

// promptIDs are the tokens of a prompt, which is the parameter of that name.
func (s *Server) promptIDs(param string, p *prompts, i int) (ids []int32, err error) {
	if p.texts != nil {
		ids, err = s.Engine.Encode(p.texts[i], false)
	} else {
		ids = p.ids[i]
	}
	if err == nil && len(ids) == 0 {
		err = invalid(param, "%s %d is empty, and the model has no token that begins a text", param, i)
	}
	if err != nil {
		return nil, err
	}
	return ids, s.checkIDs(param, ids)
}

// checkIDs refuses ids that the model does not have.
func (s *Server) checkIDs(param string, ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= s.Engine.Vocab() {
			return invalid(param, "%s: token %d is id %d: the model has %d", param, i, id, s.Engine.Vocab())
		}
	}
	return nil
}

// completionStream answers in pieces.
func (s *Server) completionStream(w http.ResponseWriter, r *http.Request, c *completionRequest, orders []engine.Order, a *asking) {
	e := s.newEvents(w)
	chunk := completionResponse{Object: "text_completion", Model: s.Model}
	chunk.ID, chunk.Created = newAnswerID("cmpl-")
	echoed := make([]bool, len(orders)*a.choices)
	logprobs := make([]*completionLogProbs, len(echoed))
	sent := 0
	err := s.follow(r, a, func(n news) error {
		sent += len(n.Tokens)
		choice := completionChoice{Index: n.choice, Text: n.Text}
		if c.Echo && !echoed[n.choice] {
			echoed[n.choice] = true
			choice.Text = s.echo(c, n.prompt, orders[n.prompt].IDs) + choice.Text
		}
		if c.LogProbs != nil {
			l := newLogProbs()
			if before := logprobs[n.choice]; before != nil {
				l.at = before.at
			}
			s.addLogProbs(l, withEnd(n.Event))
			choice.LogProbs, logprobs[n.choice] = l, l
		}
		if n.Finish != "" {
			choice.Finish = &n.Finish
		}
		if choice.Text == "" && n.Finish == "" && c.LogProbs == nil {
			return nil // what the tokens add to the text is held back
		}
		chunk.Choices, chunk.Usage = []completionChoice{choice}, c.StreamOptions.usageSoFar(a, sent)
		return e.send(chunk)
	}, e.alive)
	s.endStream(e, r, err, c.StreamOptions, func() any {
		u := usageOf(a.answers)
		chunk.Choices, chunk.Usage = []completionChoice{}, &u
		return chunk
	})
}
