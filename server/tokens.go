package server

import (
	"net/http"

	"nosa/tokenizer"
)

// plain encodes a text and nothing around it.
var plain = tokenizer.EncodeOptions{}

type tokenizeRequest struct {
	Model        *string      `json:"model"`
	Prompt       *string      `json:"prompt"`
	Messages     messages     `json:"messages"`
	TemplateArgs templateArgs `json:"chat_template_kwargs"`
	AddSpecial   *bool        `json:"add_special_tokens"`
}

type tokenizeResponse struct {
	Count   int     `json:"count"`
	Context int     `json:"max_model_len"`
	Tokens  []int32 `json:"tokens"`
}

// tokenize answers POST /tokenize: the ids of a text, or of a conversation.
func (s *Server) tokenize(w http.ResponseWriter, r *http.Request) {
	var body tokenizeRequest
	ids, err := func() ([]int32, error) {
		if err := decode(w, r, &body); err != nil {
			return nil, err
		}
		if err := s.checkModel(or(body.Model, s.Model)); err != nil {
			return nil, err
		}
		if err := s.needText(); err != nil {
			return nil, err
		}
		switch {
		case (body.Prompt == nil) == (body.Messages == nil):
			return nil, invalid("prompt", "want prompt or messages, one of the two")
		case body.Prompt != nil && body.TemplateArgs.Len() > 0:
			return nil, invalid("chat_template_kwargs", "chat_template_kwargs need messages: a prompt is not rendered")
		case body.Messages != nil:
			return s.conversationIDs(r.Context(), body.Messages, body.TemplateArgs)
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
	writeJSON(w, http.StatusOK, tokenizeResponse{len(ids), s.Engine.Plan().Context, ids})
}

type detokenizeRequest struct {
	Model  *string  `json:"model"`
	Tokens tokenIDs `json:"tokens"`
}

type detokenizeResponse struct {
	Prompt string `json:"prompt"`
}

// detokenize answers POST /detokenize: the text of ids.
func (s *Server) detokenize(w http.ResponseWriter, r *http.Request) {
	var body detokenizeRequest
	err := decode(w, r, &body)
	if err == nil {
		err = s.checkModel(or(body.Model, s.Model))
	}
	if err == nil {
		err = s.needText()
	}
	if err == nil && body.Tokens == nil {
		err = invalid("tokens", "tokens is not there: want a list of token ids")
	}
	if err == nil {
		err = s.checkIDs("tokens", body.Tokens)
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, detokenizeResponse{s.Engine.Tokenizer.Decode(body.Tokens, false)})
}

// tokenizerResponse has the names of Hugging Face's tokenizer_config.json.
type tokenizerResponse struct {
	BOS      *string `json:"bos_token"`
	EOS      *string `json:"eos_token"`
	Template *string `json:"chat_template"`
	Size     int     `json:"vocab_size"`
	Context  int     `json:"model_max_length"`
}

// tokenizerInfo answers GET /tokenizer_info, which tells clients that count tokens what
// else they must know.
func (s *Server) tokenizerInfo(w http.ResponseWriter, r *http.Request) {
	if err := s.needText(); err != nil {
		s.refuse(w, r, err)
		return
	}
	t := s.Engine.Tokenizer
	name := func(id int32, ok bool) *string {
		if text, known := t.Token(id); ok && known {
			return &text
		}
		return nil
	}
	info := tokenizerResponse{BOS: name(t.BOS()), Size: t.Size(), Context: s.Engine.Plan().Context}
	if ends := t.EOS(); len(ends) > 0 {
		info.EOS = name(ends[0], true)
	}
	if s.Engine.TemplateText != "" {
		info.Template = &s.Engine.TemplateText
	}
	writeJSON(w, http.StatusOK, info)
}
