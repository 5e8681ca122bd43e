package server

import (
	"encoding/json"
	"strings"

	"nosa/chat"
)

// Bounds of a conversation.
const (
	maxMessages = 1 << 14
	maxParts    = 1 << 12 // of a message's content
	maxFields   = 16      // of a message, and of a part
)

// messages is a conversation, whose contents are text.
type messages []chat.Message

func (m *messages) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	all, err := listOf[message]("messages", data, maxMessages)
	*m = make(messages, len(all))
	for i, one := range all {
		(*m)[i] = one.Message
	}
	return err
}

// messageFields are the fields of a message beside its role and content, and whether
// they may be more than null.
var messageFields = map[string]bool{
	"name": true, "refusal": true, "tool_calls": false, "function_call": false, "tool_call_id": false, "audio": false, "annotations": false,
}

// message is one of a conversation: its role, and its content as text. What chat.Message
// keeps beside, no template is shown.
type message struct{ chat.Message }

func (m *message) UnmarshalJSON(data []byte) error {
	m.Content = nil
	err := object("messages", data, maxFields, func(name string, value json.RawMessage) error {
		null := string(value) == "null"
		takes, known := messageFields[name]
		switch {
		case name == "role":
			return m.setRole(value)
		case name == "content":
			text, err := contentText(value)
			m.Content = text
			return err
		case !known:
			return invalid("messages", "%.100q is not known to this server", name)
		case null, takes && kinds(value) == `"`:
			return nil
		case takes:
			return invalid("messages", "%s: want a string", name)
		}
		return unsupported("messages", ": "+name+" of a message")
	})
	if err == nil && m.Role == "" {
		err = invalid("messages", "it has no role")
	}
	if err == nil && m.Content == nil {
		err = invalid("messages", "it has no content")
	}
	return err
}

func (m *message) setRole(value json.RawMessage) error {
	if err := json.Unmarshal(value, &m.Role); err != nil {
		return invalid("messages", "role: want a string")
	}
	switch m.Role {
	case "system", "user", "assistant":
		return nil
	case "developer": // a system message by another name, which templates do not know
		m.Role = "system"
		return nil
	case "tool", "function":
		return unsupported("messages", ": a message of role "+m.Role+" belongs to tools, which are not there yet")
	}
	return invalid("messages", "role %.30q: want system, user or assistant", m.Role)
}

// contentText is a message's content, whole or in parts of text.
func contentText(content json.RawMessage) (string, error) {
	if kinds(content) == `"` {
		var text string
		err := json.Unmarshal(content, &text)
		return text, err
	}
	if content[0] != '[' {
		return "", invalid("messages", "its content is neither a string nor a list of parts")
	}
	parts, err := listOf[part]("messages", content, maxParts)
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.text)
	}
	return b.String(), err
}

// part is a piece of a message's content.
type part struct{ text string }

func (p *part) UnmarshalJSON(data []byte) error {
	var kind, text *string
	err := object("messages", data, maxFields, func(name string, value json.RawMessage) (err error) {
		switch name {
		case "type":
			err = json.Unmarshal(value, &kind)
		case "text":
			err = json.Unmarshal(value, &text)
		default:
			if kind == nil || *kind == "text" {
				err = invalid("messages", "a part of its content has the field %.100q, which is not known to this server", name)
			}
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case kind == nil || *kind != "text" || text == nil:
		return unsupported("messages", ": a part of content other than text")
	}
	p.text = *text
	return nil
}
