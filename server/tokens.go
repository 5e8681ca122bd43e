package server

import (
	"net/http"

	"nosa/chat"
	"nosa/tokenizer"
)

// plain encodes a text and nothing around it.
var plain = tokenizer.EncodeOptions{}

// tokenize answers POST /tokenize: the ids of a text, or of a conversation.
func (s *Server) tokenize(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Model      string         `json:"model"`
		Prompt     *string        `json:"prompt"`
		Messages   []chat.Message `json:"messages"`
		AddSpecial *bool          `json:"add_special_tokens"`
	}
	ids, err := func() ([]int32, error) {
		if err := decode(w, r, &body); err != nil {
			return nil, err
		}
		if body.Model != "" {
			if err := s.checkModel(body.Model); err != nil {
				return nil, err
			}
		}
		if err := s.needText(); err != nil {
			return nil, err
		}
		switch {
		case (body.Prompt == nil) == (body.Messages == nil):
			return nil, invalid("prompt", "want prompt or messages, one of the two")
		case body.Messages != nil:
			return s.conversationIDs(r.Context(), body.Messages)
		case !or(body.AddSpecial, true):
			return s.Engine.Tokenizer.TryEncode(nil, *body.Prompt, plain)
		}
		return s.Engine.Encode(*body.Prompt, false)
	}()
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	if ids == nil {
		ids = []int32{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"count": len(ids), "max_model_len": s.Engine.Plan().Context, "tokens": ids})
}

// detokenize answers POST /detokenize: the text of ids.
func (s *Server) detokenize(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Model  string  `json:"model"`
		Tokens []int32 `json:"tokens"`
	}
	err := decode(w, r, &body)
	if err == nil && body.Model != "" {
		err = s.checkModel(body.Model)
	}
	if err == nil {
		err = s.needText()
	}
	for i, id := range body.Tokens {
		if err == nil && (id < 0 || int(id) >= s.Engine.Tokenizer.Size()) {
			err = invalid("tokens", "token %d is id %d: the vocabulary has %d", i, id, s.Engine.Tokenizer.Size())
		}
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"prompt": s.Engine.Tokenizer.Decode(body.Tokens, false)})
}
