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
			if id, ok := s.Engine.Tokenizer.ID(*body.Prompt); ok && s.Engine.Tokenizer.IsSpecial(id) {
				return []int32{id}, nil // its name and nothing else asks for it
			}
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

// tokenizerInfo answers GET /tokenizer_info, which tells clients that count tokens what
// else they must know, under the names of Hugging Face's tokenizer_config.json.
func (s *Server) tokenizerInfo(w http.ResponseWriter, r *http.Request) {
	if err := s.needText(); err != nil {
		s.refuse(w, r, err)
		return
	}
	t := s.Engine.Tokenizer
	name := func(id int32, ok bool) any {
		if text, known := t.Token(id); ok && known {
			return text
		}
		return nil
	}
	info := map[string]any{"bos_token": name(t.BOS()), "eos_token": nil, "chat_template": nil, "vocab_size": t.Size(), "model_max_length": s.Engine.Plan().Context}
	if ends := t.EOS(); len(ends) > 0 {
		info["eos_token"] = name(ends[0], true)
	}
	if s.Engine.TemplateText != "" {
		info["chat_template"] = s.Engine.TemplateText
	}
	writeJSON(w, http.StatusOK, info)
}
