package server

import (
	"encoding/json"

	"nosa/chat"
)

// DefaultTemplateArgs are the arguments of chat templates that requests may set: those
// by which published templates say how a model is to think, and what day it is.
var DefaultTemplateArgs = []string{"enable_thinking", "thinking", "thinking_budget", "reasoning_effort", "date_string"}

// maxArgs is the most arguments of a request, maxArgText the most bytes of one.
const (
	maxArgs    = 16
	maxArgText = 256
)

// templateArgs are arguments of a chat template, all of them scalars.
type templateArgs struct{ *chat.Object }

func (a *templateArgs) UnmarshalJSON(data []byte) error {
	const name = "chat_template_kwargs"
	if string(data) == "null" {
		return nil
	}
	a.Object = &chat.Object{}
	return object(name, data, maxArgs, func(k string, raw json.RawMessage) error {
		v, err := chat.DecodeJSON(raw)
		text, isText := v.(string)
		number, isNumber := v.(json.Number)
		switch _, flag := v.(bool); {
		case err != nil, v != nil && !flag && !isText && !isNumber:
			return invalid(name, "%s: %.100q: want a string, a number, true, false or null", name, k)
		case len(text) > maxArgText || len(number) > maxArgText:
			return invalid(name, "%s: %.100q has %d bytes: want %d at most", name, k, max(len(text), len(number)), maxArgText)
		}
		a.Set(k, v)
		return nil
	})
}

// checkTemplateArgs refuses arguments that are not allowed, and those that the model's
// template would not look at.
func (s *Server) checkTemplateArgs(args templateArgs) error {
	for _, k := range args.Keys() {
		if !s.takesArg(k) {
			return invalid("chat_template_kwargs", "chat_template_kwargs: %.100q is not known to this server, or not to the model's chat template", k)
		}
	}
	return nil
}

// takesArg tells whether requests may set an argument.
func (s *Server) takesArg(name string) bool {
	for _, allowed := range s.TemplateArgs {
		if name == allowed {
			return s.Engine.Template != nil && s.Engine.Template.Takes(name)
		}
	}
	return false
}

// templateArgsSchema is of the arguments that may be set.
func (s *Server) templateArgsSchema() schema {
	properties := schema{}
	for _, name := range s.TemplateArgs {
		if s.takesArg(name) {
			properties[name] = schema{"type": []string{"string", "number", "boolean", "null"}, "maxLength": maxArgText}
		}
	}
	return schema{"type": "object", "properties": properties, "additionalProperties": false,
		"description": "Arguments of the model's chat template, of those that the server allows and the template reads."}
}
