package server

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"strconv"

	"nosa/engine"
)

// embeddingRequest is the body of POST /v1/embeddings.
type embeddingRequest struct {
	Model      string          `json:"model"`
	Input      inputs          `json:"input"`
	Format     *string         `json:"encoding_format"`
	Dimensions *whole          `json:"dimensions"`
	Priority   whole           `json:"priority"`
	CacheSalt  string          `json:"cache_salt"`
	User       json.RawMessage `json:"user"`
}

// inputs are prompts by another name.
type inputs struct{ prompts }

func (i *inputs) UnmarshalJSON(data []byte) error { return i.read("input", data) }

type embeddingResponse struct {
	Object string            `json:"object"`
	Data   []embeddingObject `json:"data"`
	Model  string            `json:"model"`
	Usage  embeddingUsage    `json:"usage"`
}

type embeddingObject struct {
	Object string `json:"object"`
	Vector vector `json:"embedding"`
	Index  int    `json:"index"`
}

type embeddingUsage struct {
	Prompt int `json:"prompt_tokens"`
	Total  int `json:"total_tokens"`
}

// vector is written as numbers, or as the base64 of its float32s, little end first.
type vector struct {
	v      []float32
	base64 bool
}

func (v vector) MarshalJSON() ([]byte, error) {
	if !v.base64 {
		return json.Marshal(v.v)
	}
	raw := make([]byte, 0, 4*len(v.v))
	for _, x := range v.v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(raw))
}

// embeddings answers POST /v1/embeddings.
func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) {
	var c embeddingRequest
	orders, err := s.embeddingOrders(w, r, &c)
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
	none := func() error { return nil }
	if err := s.follow(r, a, func(news) error { return nil }, none); err != nil {
		s.fail(s.newEvents(w), r, err)
		return
	}
	res := embeddingResponse{Object: "list", Model: s.Model}
	for i, answer := range a.answers {
		res.Data = append(res.Data, embeddingObject{"embedding", vector{answer.Vector(), or(c.Format, "") == "base64"}, i})
		res.Usage.Prompt += answer.Usage().Prompt
	}
	res.Usage.Total = res.Usage.Prompt
	writeJSON(w, http.StatusOK, res)
}

// embeddingOrders reads a request and makes what the engine takes of it.
func (s *Server) embeddingOrders(w http.ResponseWriter, r *http.Request, c *embeddingRequest) ([]engine.Order, error) {
	if err := decode(w, r, c); err != nil {
		return nil, err
	}
	if err := s.checkModel(c.Model); err != nil {
		return nil, err
	}
	if c.Input.texts != nil {
		if err := s.needText(); err != nil {
			return nil, err
		}
	}
	switch format := or(c.Format, "float"); {
	case format != "float" && format != "base64":
		return nil, invalid("encoding_format", "encoding_format %.30q: want float or base64", format)
	case c.Dimensions != nil && int(*c.Dimensions) != s.Engine.Width():
		return nil, unsupported("dimensions", " but for the model's own number, which is "+strconv.Itoa(s.Engine.Width())+": it was not trained for vectors that are cut")
	case c.Input.len() == 0:
		return nil, invalid("input", "input is not there: want 1 to %d", maxPrompts)
	}
	var orders []engine.Order
	for i := range c.Input.len() {
		ids, err := s.promptIDs("input", &c.Input.prompts, i)
		if err != nil {
			return nil, err
		}
		none := whole(0)
		o, err := s.order(&params{MaxTokens: &none, Priority: c.Priority, CacheSalt: c.CacheSalt}, ids, 0)
		if err != nil {
			return nil, err
		}
		o.Embed = s.Pooling
		orders = append(orders, o)
	}
	return orders, nil
}
