// Command openaicheck asks a running `nosa serve` by OpenAI's own client for Go, unchanged.
//
//	go run ./openaicheck http://127.0.0.1:8080/v1 MODEL
//
// It ends at the first answer that is not as it must be; the last line counts the checks.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "openaicheck: want the server's address and the model's name")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := &checker{
		client: openai.NewClient(option.WithBaseURL(os.Args[1]), option.WithAPIKey("none"), option.WithMaxRetries(0)),
		model:  os.Args[2],
	}
	for _, f := range []func(context.Context) error{c.models, c.chat, c.choices, c.completions, c.refusals, c.leaves} {
		if err := f(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "openaicheck: after %d checks: %v\n", c.passed, err)
			os.Exit(1)
		}
	}
	fmt.Printf("%d passed, 0 failed\n", c.passed)
}

type checker struct {
	client openai.Client
	model  string
	passed int
}

// check counts what is right and says what is not.
func (c *checker) check(ok bool, format string, args ...any) error {
	if !ok {
		return fmt.Errorf(format, args...)
	}
	c.passed++
	return nil
}

func (c *checker) models(ctx context.Context) error {
	page, err := c.client.Models.List(ctx)
	if err != nil {
		return err
	}
	one, err := c.client.Models.Get(ctx, c.model)
	if err != nil {
		return err
	}
	return c.check(len(page.Data) == 1 && page.Data[0].ID == c.model && one.ID == c.model, "models: %+v", page.Data)
}

// question is a request for a short answer, always the same one.
func (c *checker) question() openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:       c.model,
		Messages:    []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("Be brief."), openai.UserMessage("What is a whale?")},
		MaxTokens:   openai.Int(24),
		Temperature: openai.Float(0),
	}
}

// chat: an answer in pieces is the whole one, and so are its log-probabilities.
func (c *checker) chat(ctx context.Context) error {
	p := c.question()
	p.Logprobs, p.TopLogprobs = openai.Bool(true), openai.Int(2)
	whole, err := c.client.Chat.Completions.New(ctx, p)
	if err != nil {
		return err
	}
	choice := whole.Choices[0]
	text := choice.Message.Content
	var tokens strings.Builder
	for _, t := range choice.Logprobs.Content {
		tokens.WriteString(t.Token)
		if t.Logprob > 0 || len(t.TopLogprobs) != 2 || t.TopLogprobs[0].Logprob != t.Logprob {
			return fmt.Errorf("a token's log-probabilities: %+v", t)
		}
	}
	if err := c.check(tokens.String() == text && text != "", "the tokens %q are not the text %q", tokens.String(), text); err != nil {
		return err
	}
	if err := c.check(choice.FinishReason == "length" && whole.Usage.CompletionTokens == 24, "the answer's end: %+v", whole); err != nil {
		return err
	}

	p.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	stream := c.client.Chat.Completions.NewStreaming(ctx, p)
	var all openai.ChatCompletionAccumulator
	for pieces := 0; stream.Next(); pieces++ {
		if !all.AddChunk(stream.Current()) {
			return fmt.Errorf("piece %d does not belong to those before it: %s", pieces, stream.Current().RawJSON())
		}
	}
	if err := errors.Join(stream.Err(), stream.Close()); err != nil {
		return err
	}
	if err := c.check(len(all.Choices) == 1 && all.Choices[0].Message.Content == text, "in pieces: %+v, whole: %q", all.Choices, text); err != nil {
		return err
	}
	return c.check(all.Usage.TotalTokens == whole.Usage.TotalTokens && len(all.Choices[0].Logprobs.Content) == 24, "in pieces: %+v", all.ChatCompletion)
}

// choices: several of one seed, twice.
func (c *checker) choices(ctx context.Context) error {
	p := c.question()
	p.Temperature, p.N, p.Seed, p.MaxTokens = openai.Float(1.2), openai.Int(3), openai.Int(7), openai.Int(8)
	p.Stop = openai.ChatCompletionNewParamsStopUnion{OfStringArray: []string{"\n\n"}}
	p.LogitBias = map[string]int64{"2": -100}
	var texts [2][]string
	for i := range texts {
		r, err := c.client.Chat.Completions.New(ctx, p)
		if err != nil {
			return err
		}
		for _, choice := range r.Choices {
			texts[i] = append(texts[i], choice.Message.Content)
		}
	}
	return c.check(len(texts[0]) == 3 && slices.Equal(texts[0], texts[1]), "of one seed: %q and %q", texts[0], texts[1])
}

func (c *checker) completions(ctx context.Context) error {
	const prompt = "Call me Ishmael. Some years ago"
	p := openai.CompletionNewParams{
		Model: openai.CompletionNewParamsModel(c.model), Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(prompt)},
		MaxTokens: openai.Int(8), Temperature: openai.Float(0), Echo: openai.Bool(true), Logprobs: openai.Int(1),
	}
	r, err := c.client.Completions.New(ctx, p)
	if err != nil {
		return err
	}
	got := r.Choices[0]
	if err := c.check(strings.HasPrefix(got.Text, prompt) && strings.Join(got.Logprobs.Tokens, "") == got.Text, "echo: %+v", got); err != nil {
		return err
	}
	n := len(got.Logprobs.Tokens)
	if err := c.check(n > 8 && len(got.Logprobs.TokenLogprobs) == n && len(got.Logprobs.TextOffset) == n, "echo: %+v", got.Logprobs); err != nil {
		return err
	}
	p.Echo, p.Logprobs = openai.Bool(false), openai.Int(0)
	stream := c.client.Completions.NewStreaming(ctx, p)
	var text strings.Builder
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			text.WriteString(choice.Text)
		}
	}
	if err := errors.Join(stream.Err(), stream.Close()); err != nil {
		return err
	}
	if err := c.check(prompt+text.String() == got.Text, "in pieces: %q, whole: %q", text.String(), got.Text); err != nil {
		return err
	}
	p.Prompt = openai.CompletionNewParamsPromptUnion{OfArrayOfTokenArrays: [][]int64{{504, 7215}, {1085}}}
	if r, err = c.client.Completions.New(ctx, p); err != nil {
		return err
	}
	return c.check(len(r.Choices) == 2 && r.Choices[1].Index == 1, "of token ids: %+v", r.Choices)
}

// refusals have OpenAI's shape.
func (c *checker) refusals(ctx context.Context) error {
	for _, want := range []struct {
		status      int
		param, code string
		change      func(*openai.ChatCompletionNewParams)
	}{
		{http.StatusNotFound, "model", "model_not_found", func(p *openai.ChatCompletionNewParams) { p.Model = "gpt-7" }},
		{http.StatusBadRequest, "temperature", "", func(p *openai.ChatCompletionNewParams) { p.Temperature = openai.Float(1000) }},
		{http.StatusBadRequest, "tools", "unsupported_parameter", func(p *openai.ChatCompletionNewParams) {
			p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: "f"})}
		}},
		{http.StatusBadRequest, "", "context_length_exceeded", func(p *openai.ChatCompletionNewParams) { p.MaxTokens = openai.Int(1e9) }},
	} {
		p := c.question()
		want.change(&p)
		_, err := c.client.Chat.Completions.New(ctx, p)
		var e *openai.Error
		if !errors.As(err, &e) {
			return fmt.Errorf("want a refusal of %q, got %w", want.param, err)
		}
		if err := c.check(e.StatusCode == want.status && e.Param == want.param && e.Code == want.code && e.Message != "", "%+v: status %d, %s", want, e.StatusCode, e.RawJSON()); err != nil {
			return err
		}
	}
	return nil
}

// leaves in the middle of an answer; the server lets it go and answers others.
func (c *checker) leaves(ctx context.Context) error {
	p := c.question()
	p.MaxTokens = openai.Int(2000)
	stream := c.client.Chat.Completions.NewStreaming(ctx, p, option.WithJSONSet("ignore_eos", true))
	if !stream.Next() {
		return fmt.Errorf("the stream has not begun: %w", stream.Err())
	}
	if err := stream.Close(); err != nil {
		return err
	}
	r, err := c.client.Chat.Completions.New(ctx, c.question())
	if err != nil {
		return err
	}
	return c.check(r.Choices[0].Message.Content != "", "after a client that left: %+v", r)
}
