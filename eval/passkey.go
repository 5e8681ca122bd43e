package eval

import (
	"strconv"
	"strings"
)

// Passkey and key-value retrieval of InfiniteBench's. The prompts are those for models that go on with a text.
const (
	infiniteTask = "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you about the important information there.\n\n"
	passNeedle   = "The pass key is {key}. Remember it. {key} is the pass key.\n"
	passQuestion = "\nWhat is the pass key?"
	passPrefix   = "\nThe pass key is"
	passTokens   = 6
	passKeys     = 5 // of each depth, and digits of a key

	kvTask   = "Extract the value corresponding to the specified key in the JSON object below.\n\n"
	kvTokens = 50
	kvDepths = 10
)

// passContext hides a key in so many lines of noise, before line at.
func passContext(key string, at, lines int) string {
	return strings.Repeat(noise+"\n", at) + strings.ReplaceAll(passNeedle, "{key}", key) + strings.Repeat(noise+"\n", lines-at)
}

// newPasskey spreads samples over the depths of the NIAH grid.
func newPasskey(m *Material) Task {
	return &sized{name: "passkey", m: m, maxTokens: passTokens, score: firstInteger, step: steps(2, 10), make: func(d Draws, _, size, index int) (made, error) {
		var key strings.Builder
		for range passKeys {
			key.WriteString(strconv.Itoa(d.Below(10)))
		}
		depth := float64(index%kvDepths) / (kvDepths - 1)
		at := int(depth*float64(size) + 0.5)
		return made{infiniteTask + passContext(key.String(), at, size) + passQuestion, passPrefix, []string{key.String()}, depth}, nil
	}}
}

// kvContext is an object of pairs, and the question for one of them.
func kvContext(pairs [][2]string, at int) (context, question string) {
	var b strings.Builder
	b.WriteString("JSON data:\n{")
	for i, p := range pairs {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(`"` + p[0] + `": "` + p[1] + `"`)
	}
	b.WriteByte('}')
	return b.String(), "\nKey: \"" + pairs[at][0] + "\"\nThe value associated with the specified key is: "
}

// newPairs makes key-value retrieval: keys and values are UUIDs.
func newPairs(m *Material) Task {
	return &sized{name: "kv_retrieval", m: m, maxTokens: kvTokens, score: wordOf, step: steps(1, 4), make: func(d Draws, _, size, index int) (made, error) {
		pairs := make([][2]string, size)
		for i := range pairs {
			pairs[i] = [2]string{uuid(d), uuid(d)}
		}
		depth := float64(index%kvDepths) / (kvDepths - 1)
		at := int(depth*float64(size-1) + 0.5)
		context, question := kvContext(pairs, at)
		return made{kvTask + context + "\n", question, []string{pairs[at][1]}, depth}, nil
	}}
}
