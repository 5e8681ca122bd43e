package server

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"nosa/engine"
)

// facts are what the document says of fields beside their types: the bounds that this
// server enforces, and what the names do not say. A test holds requests at each bound,
// and beyond it, against the server.
func (s *Server) facts() map[string]schema {
	context, vocab := s.Engine.Plan().Context, s.Engine.Vocab()
	id := schema{"type": "integer", "minimum": 0, "maximum": vocab - 1}
	text := schema{"type": "string"}
	if begins, err := s.Engine.Encode("", false); err == nil && len(begins) == 0 {
		text["minLength"] = 1
	}
	texts := schema{"type": "array", "items": text, "minItems": 1, "maxItems": maxPrompts}
	ids := schema{"type": "array", "items": id, "minItems": 1, "maxItems": context}
	prompts := schema{"anyOf": []schema{text, texts, ids, {"type": "array", "items": ids, "minItems": 1, "maxItems": maxPrompts}},
		"description": "A text, several, the token ids of one, or of several."}
	nothing := schema{"type": "null", "description": "Not supported."}
	said := func(text string) schema { return schema{"description": text} }
	taken := said("Taken, and means nothing here.")
	number := func(name string) schema { return bounded(ranges[name][0], ranges[name][1]) }
	model := schema{"enum": []any{s.Model}, "description": "The model's name: " + s.Model + "."}
	priority := bounded(-maxPriority, maxPriority, said("The lower goes first."))
	salt := schema{"maxLength": maxSalt, "description": "Blocks of the cache are shared under the same salt alone. Its length counts in bytes."}
	format := schema{"anyOf": []schema{{"type": "object", "required": []string{"type"}, "properties": schema{"type": schema{"const": "text"}}}}}
	answer := schema{"description": "chat.completion or text_completion, or chat.completion.chunk for a piece."}

	return map[string]schema{
		"params.model":              model,
		"params.max_tokens":         bounded(0, context, said("Of the answer. With the prompt's they must fit the context.")),
		"params.temperature":        bounded(ranges["temperature"][0], ranges["temperature"][1], schema{"default": 1}),
		"params.top_p":              bounded(ranges["top_p"][0], ranges["top_p"][1], schema{"default": 1}),
		"params.top_k":              {"minimum": -1, "description": "0 and -1: all."},
		"params.min_p":              number("min_p"),
		"params.n":                  bounded(1, s.Limits.Choices, schema{"default": 1}),
		"params.presence_penalty":   number("presence_penalty"),
		"params.frequency_penalty":  number("frequency_penalty"),
		"params.repetition_penalty": number("repetition_penalty"),
		"biases": {"type": "object", "maxProperties": maxBiases, "propertyNames": schema{"pattern": below(vocab)},
			"additionalProperties": schema{"type": "number", "minimum": -maxBias, "maximum": maxBias}, "description": "By token id."},
		"params.priority":          priority,
		"params.cache_salt":        salt,
		"params.user":              taken,
		"params.metadata":          taken,
		"params.store":             taken,
		"params.service_tier":      taken,
		"params.safety_identifier": taken,
		"params.prompt_cache_key":  taken,
		"oneOrMore": {"anyOf": []schema{stopString(), {"type": "array", "items": stopString(), "maxItems": engine.MaxStops}},
			"description": "Strings that end the answer, which does not have them. Their lengths count in bytes."},
		"streamOptions.include_obfuscation": said("Never done."),

		"chatRequest.max_completion_tokens": bounded(0, context, said("max_tokens by its other name; this one counts.")),
		"chatRequest.top_logprobs":          bounded(0, engine.MaxTop, said("Needs logprobs.")),
		"chatRequest.modalities":            {"items": schema{"const": "text"}},
		"chatRequest.response_format":       format,
		"chatRequest.tools":                 {"type": "array", "maxItems": 0},
		"chatRequest.tool_choice":           {"enum": []any{"none", "auto"}},
		"chatRequest.parallel_tool_calls":   taken,
		"chatRequest.functions":             {"type": "array", "maxItems": 0},
		"chatRequest.function_call":         {"enum": []any{"none", "auto"}},
		"chatRequest.audio":                 nothing,
		"chatRequest.prediction":            nothing,
		"chatRequest.reasoning_effort":      {"enum": []any{"none"}},
		"chatRequest.verbosity":             {"enum": []any{"medium"}},
		"chatRequest.web_search_options":    nothing,
		"chatRequest.structured_outputs":    nothing,

		"messages":     {"type": "array", "items": messageSchema(), "minItems": 1, "maxItems": maxMessages},
		"templateArgs": s.templateArgsSchema(),

		"prompts":                           prompts,
		"completionRequest.logprobs":        bounded(0, engine.MaxTop),
		"completionRequest.best_of":         bounded(1, s.Limits.Choices, said("As n, if it is there.")),
		"completionRequest.suffix":          nothing,
		"completionRequest.response_format": nothing,

		"inputs":                           prompts,
		"embeddingRequest.model":           model,
		"embeddingRequest.encoding_format": {"enum": []any{"float", "base64"}},
		"embeddingRequest.dimensions":      bounded(s.Engine.Width(), s.Engine.Width(), said("The model's own number alone.")),
		"embeddingRequest.priority":        priority,
		"embeddingRequest.cache_salt":      salt,
		"embeddingRequest.user":            taken,
		"vector": {"anyOf": []schema{{"type": "array", "items": schema{"type": "number"}}, {"type": "string", "contentEncoding": "base64"}},
			"description": "Numbers, or with base64 their float32s, little end first."},

		"tokenizeRequest.model": model,
		"tokenizeRequest.*": {"oneOf": []schema{
			{"required": []string{"prompt"}, "properties": schema{"prompt": schema{"type": "string"}}},
			{"required": []string{"messages"}, "properties": schema{"messages": schema{"type": "array"}}}}},
		"tokenizeRequest.prompt":   said("This or messages."),
		"detokenizeRequest.model":  model,
		"detokenizeRequest.tokens": {"items": id},

		"chatResponse.object":               answer,
		"completionResponse.object":         answer,
		"chatToken.bytes":                   {"items": bounded(0, math.MaxUint8, schema{"type": "integer"})},
		"completionLogProbs.token_logprobs": {"items": schema{"type": []string{"number", "null"}}},
		"completionLogProbs.top_logprobs":   {"items": schema{"type": []string{"object", "null"}, "additionalProperties": schema{"type": "number"}}},
	}
}

// below is a pattern of the whole numbers from 0 to n−1, without signs and leading zeros.
func below(n int) string {
	last := strconv.Itoa(n - 1)
	all := []string{"[0-9]"}
	for digits := 2; digits < len(last); digits++ {
		all = append(all, fmt.Sprintf("[1-9][0-9]{%d}", digits-1))
	}
	if len(last) == 1 {
		all = nil
	}
	for i := range last { // as last up to its i-th digit, and less there
		low := byte('0')
		if i == 0 && len(last) > 1 {
			low = '1'
		}
		if last[i] > low {
			all = append(all, fmt.Sprintf("%s[%c-%c][0-9]{%d}", last[:i], low, last[i]-1, len(last)-i-1))
		}
	}
	return "^(" + strings.Join(append(all, last), "|") + ")$"
}

func stopString() schema {
	return schema{"type": "string", "minLength": 1, "maxLength": engine.MaxStopBytes}
}

// messageSchema is what message and part read.
func messageSchema() schema {
	part := schema{"type": "object", "required": []string{"text", "type"}, "additionalProperties": false,
		"properties": schema{"type": schema{"const": "text"}, "text": schema{"type": "string"}}}
	properties := schema{
		"role":    schema{"type": "string", "enum": []any{"system", "developer", "user", "assistant"}},
		"content": schema{"anyOf": []schema{{"type": "string"}, {"type": "array", "items": part, "maxItems": maxParts}}},
	}
	for name, known := range messageFields {
		properties[name] = schema{"type": "null", "description": "Not supported."}
		if known {
			properties[name] = schema{"type": []string{"string", "null"}, "description": "Taken, and not shown to the model."}
		}
	}
	return schema{"type": "object", "required": []string{"content", "role"}, "additionalProperties": false, "properties": properties}
}
