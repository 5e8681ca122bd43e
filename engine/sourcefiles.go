package engine

import (
	"encoding/json"

	"nosa/model"
	"nosa/weights"
)

// templateOf finds the chat template in tokenizer_config.json: a string, or a
// list of named ones of which "default" is meant.
func templateOf(config []byte) string {
	var c struct {
		Template json.RawMessage `json:"chat_template"`
	}
	if json.Unmarshal(config, &c) != nil || len(c.Template) == 0 {
		return ""
	}
	var one string
	if json.Unmarshal(c.Template, &one) == nil {
		return one
	}
	var named []struct{ Name, Template string }
	if json.Unmarshal(c.Template, &named) != nil {
		return ""
	}
	for _, t := range named {
		if t.Name == "default" {
			return t.Template
		}
	}
	return ""
}

// generationEOS reads the ids that end a text from generation_config.json, which
// names more of them than config.json in many chat models.
func generationEOS(ck *weights.Checkpoint) []int32 {
	data, err := ck.File("generation_config.json")
	if err != nil {
		return nil
	}
	var c struct {
		EOS json.RawMessage `json:"eos_token_id"`
	}
	if json.Unmarshal(data, &c) != nil {
		return nil
	}
	return model.TokenIDs(c.EOS)
}
