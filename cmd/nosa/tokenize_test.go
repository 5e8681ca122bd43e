package main

import (
	"strings"
	"testing"
)

func TestTokenize(t *testing.T) {
	dir := textModel(t)
	const text = "Call me Ishmael, or,not. 鲸 \U0001F433\n"
	var ids struct {
		Tokens []int32  `json:"tokens"`
		Pieces []string `json:"pieces"`
		Count  int      `json:"count"`
	}
	parseJSON(t, nosa(t, nil, "tokenize", dir, "--json", "-f", writeFile(t, text)), &ids)
	if ids.Count == 0 || len(ids.Tokens) != ids.Count || len(ids.Pieces) != ids.Count {
		t.Fatalf("%+v", ids)
	}
	lines := nosa(t, nil, "tokenize", dir, text)
	if lines.code != exitDone || strings.Count(lines.out, "\n") != ids.Count || lines.errors != "" {
		t.Errorf("%+v", lines)
	}
	var numbers []string
	for line := range strings.Lines(lines.out) {
		number, _, _ := strings.Cut(line, "\t")
		numbers = append(numbers, number)
	}
	for _, form := range []string{strings.Join(numbers, " "), "[" + strings.Join(numbers, ", ") + "]"} {
		var back struct {
			Text  string `json:"text"`
			Count int    `json:"count"`
		}
		parseJSON(t, nosa(t, nil, "tokenize", dir, "--json", "--decode", form), &back)
		if back.Text != text || back.Count != ids.Count {
			t.Errorf("%q came back as %+v", text, back)
		}
	}
	if r := nosa(t, nil, "tokenize", dir, "-d", numbers[0]); r.code != exitDone || !strings.HasPrefix(text, strings.TrimSuffix(r.out, "\n")) {
		t.Errorf("%+v", r)
	}
	if r := nosa(t, nil, "tokenize", dir, "--json"); r.out != `{"count":0,"pieces":[],"tokens":[]}`+"\n" {
		t.Errorf("an empty text: %+v", r)
	}
}

func TestTokenizeRefuses(t *testing.T) {
	dir := textModel(t)
	nosa(t, nil, "tokenize", dir, "x", "-f", "y").refused(t, exitUsage, "--file")
	nosa(t, nil, "tokenize", dir, "x\xff").refused(t, exitUsage, "argument 3: byte 1 is 0xff")
	nosa(t, nil, "tokenize", dir, "-d", "1", "x").refused(t, exitFailed, `item 1 of the input is "x"`)
	nosa(t, nil, "tokenize", dir, "-d", "1.5").refused(t, exitFailed, `"1.5"`)
	nosa(t, nil, "tokenize", dir, "-d", "--", "-1").refused(t, exitFailed, `"-1"`, "from 0 to")
	nosa(t, nil, "tokenize", dir, "-d", "99999999999").refused(t, exitFailed, "from 0 to")
	nosa(t, nil, "tokenize", nosaModel, "x").refused(t, exitFailed, "no tokenizer")
}
