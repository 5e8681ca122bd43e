package server

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"nosa/compute"
	"nosa/engine"
)

// params is what both ways to ask for text have in common.
type params struct {
	Model         string         `json:"model"`
	MaxTokens     *whole         `json:"max_tokens"`
	Temperature   *float32       `json:"temperature"`
	TopP          *float32       `json:"top_p"`
	TopK          *whole         `json:"top_k"` // 0 or −1: all
	MinP          *float32       `json:"min_p"`
	N             *whole         `json:"n"`
	Stream        bool           `json:"stream"`
	StreamOptions *streamOptions `json:"stream_options"`
	Stop          oneOrMore      `json:"stop"`
	Presence      *float32       `json:"presence_penalty"`
	Frequency     *float32       `json:"frequency_penalty"`
	Repetition    *float32       `json:"repetition_penalty"`
	LogitBias     biases         `json:"logit_bias"`
	Seed          *whole         `json:"seed"`
	IgnoreEOS     bool           `json:"ignore_eos"`
	Priority      whole          `json:"priority"` // the lower goes first, as in vLLM
	CacheSalt     string         `json:"cache_salt"`

	// What concerns OpenAI's own books and has no meaning here.
	User             json.RawMessage `json:"user"`
	Metadata         json.RawMessage `json:"metadata"`
	Store            json.RawMessage `json:"store"`
	ServiceTier      json.RawMessage `json:"service_tier"`
	SafetyIdentifier json.RawMessage `json:"safety_identifier"`
	PromptCacheKey   json.RawMessage `json:"prompt_cache_key"`
}

// Bounds of parameters, which the OpenAPI document tells too.
const (
	maxPriority = 1 << 20
	maxBiases   = 1024 // tokens of a logit_bias
	maxBias     = 100
	maxSalt     = 1024 // bytes
)

// ranges of parameters that are numbers, with both ends.
var ranges = map[string][2]float32{
	"temperature": {0, 100}, "top_p": {0x1p-126, 1}, "min_p": {0, 1}, "presence_penalty": {-2, 2}, "frequency_penalty": {-2, 2}, "repetition_penalty": {0.01, 100},
}

type streamOptions struct {
	IncludeUsage       bool `json:"include_usage"`
	ContinuousUsage    bool `json:"continuous_usage_stats"` // with every piece, as in vLLM
	IncludeObfuscation bool `json:"include_obfuscation"`    // never done
}

// given reports whether a parameter is there and not null.
func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

func or[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}

// order makes what the engine takes of the parameters; the prompt and the
// log-probabilities are the caller's to add. tokens is the answer's length where
// nothing is said; 0: what the context has left.
func (s *Server) order(p *params, prompt []int32, tokens int) (engine.Order, error) {
	o := engine.Order{Priority: -int(p.Priority), Choices: p.N.or(1)}
	o.IDs = prompt
	if left := s.Engine.Plan().Context - len(prompt); tokens == 0 || tokens > left {
		tokens = max(left, 0)
		if s.Limits.MaxTokens > 0 {
			tokens = min(tokens, s.Limits.MaxTokens)
		}
	}
	o.MaxTokens = p.MaxTokens.or(tokens)
	o.Sampling = compute.Sampling{Temperature: or(p.Temperature, 1), TopP: or(p.TopP, 1), TopK: p.TopK.or(0), MinP: or(p.MinP, 0), Seed: rand.Uint64()}
	o.Penalties = engine.Penalties{Presence: or(p.Presence, 0), Frequency: or(p.Frequency, 0), Repetition: or(p.Repetition, 1)}
	switch {
	case o.MaxTokens < 0:
		return o, invalid("max_tokens", "max_tokens %d: want 0 or more", o.MaxTokens)
	case o.MaxTokens > s.Engine.Plan().Context-len(prompt):
		most := s.Engine.Plan().Context
		e := invalid("", "This model's maximum context length is %d tokens: the prompt has %d, and up to %d more were asked for.", most, len(prompt), o.MaxTokens)
		e.Name = "context_length_exceeded" // clients know the one or the other
		return o, e
	case o.Choices < 1 || o.Choices > s.Limits.Choices:
		return o, invalid("n", "n %d: want 1 to %d", o.Choices, s.Limits.Choices)
	case o.Sampling.TopK < -1:
		return o, invalid("top_k", "top_k %d: want 0 or -1, for all, or more", o.Sampling.TopK)
	case p.Priority < -maxPriority || p.Priority > maxPriority:
		return o, invalid("priority", "priority %d: want %d to %d", p.Priority, -maxPriority, maxPriority)
	}
	o.Sampling.TopK = max(o.Sampling.TopK, 0)
	if p.Seed != nil {
		o.Sampling.Seed = uint64(*p.Seed)
	}
	for _, v := range []struct {
		name string
		v    float32
	}{
		{"temperature", o.Sampling.Temperature}, {"top_p", o.Sampling.TopP}, {"min_p", o.Sampling.MinP}, {"presence_penalty", o.Penalties.Presence},
		{"frequency_penalty", o.Penalties.Frequency}, {"repetition_penalty", o.Penalties.Repetition},
	} {
		if low, high := ranges[v.name][0], ranges[v.name][1]; !(v.v >= low && v.v <= high) {
			return o, invalid(v.name, "%s %v: want %v to %v", v.name, v.v, low, high)
		}
	}
	for id, bias := range p.LogitBias {
		n, err := strconv.ParseInt(id, 10, 32)
		if err != nil || strconv.FormatInt(n, 10) != id || n < 0 || int(n) >= s.Engine.Vocab() || !(bias >= -maxBias && bias <= maxBias) {
			return o, invalid("logit_bias", "logit_bias of %.30q is %v: want token ids, below %d, with numbers from %d to %d", id, bias, s.Engine.Vocab(), -maxBias, maxBias)
		}
		if o.Penalties.Bias == nil {
			o.Penalties.Bias = map[int32]float32{}
		}
		o.Penalties.Bias[int32(n)] = bias
	}
	if len(p.CacheSalt) > maxSalt {
		return o, invalid("cache_salt", "cache_salt has %d bytes: want %d at most", len(p.CacheSalt), maxSalt)
	}
	for _, stop := range p.Stop {
		if stop == "" || len(stop) > engine.MaxStopBytes {
			return o, invalid("stop", "a stop string has %d bytes: want 1 to %d", len(stop), engine.MaxStopBytes)
		}
	}
	if p.CacheSalt != "" {
		o.Salt = []byte(p.CacheSalt)
	}
	o.Stop, o.IgnoreEnd = p.Stop, p.IgnoreEOS
	return o, nil
}

// usage counts the tokens of a request, with what the tiers did for it.
type usage struct {
	Prompt     int          `json:"prompt_tokens"`
	Completion int          `json:"completion_tokens"`
	Total      int          `json:"total_tokens"`
	Details    usageDetails `json:"prompt_tokens_details"`
	Nosa       tierUsage    `json:"nosa"`
}

type usageDetails struct {
	Cached int `json:"cached_tokens"`
}

// tierUsage is what a request wanted of the cache and where it was.
type tierUsage struct {
	Selected      int64   `json:"selected_blocks"`
	Hits          int64   `json:"hits"`
	HostHits      int64   `json:"host_hits"`
	DiskHits      int64   `json:"disk_hits"`
	HitRate       float64 `json:"hit_rate"`
	BytesUp       int64   `json:"bytes_up"`
	BytesDown     int64   `json:"bytes_down"`
	BytesToDisk   int64   `json:"bytes_to_disk"`
	BytesFromDisk int64   `json:"bytes_from_disk"`
	Wait          float64 `json:"wait_seconds"`
	Queue         float64 `json:"queue_seconds"`
	Prefill       float64 `json:"prefill_seconds"`
	Decode        float64 `json:"decode_seconds"`
}

// usageOf adds the usage of several answers up.
func usageOf(answers []*engine.Answer) usage {
	var u usage
	for _, a := range answers {
		one, stats := a.Usage(), a.Stats()
		t := stats.Total
		u.Prompt += one.Prompt
		u.Completion += one.Completion
		u.Details.Cached += one.Shared
		n := &u.Nosa
		n.Selected += t.Selected
		n.Hits += t.Hits
		n.HostHits += t.HostHits
		n.DiskHits += t.DiskHits
		n.BytesUp += t.BytesUp
		n.BytesDown += t.BytesDown
		n.BytesToDisk += t.BytesToDisk
		n.BytesFromDisk += t.BytesFromDisk
		n.Wait += t.Wait.Seconds()
		n.Queue = max(n.Queue, one.Queue.Seconds())
		n.Prefill = max(n.Prefill, one.Prefill.Seconds())
		n.Decode = max(n.Decode, one.Decode.Seconds())
	}
	u.Total = u.Prompt + u.Completion
	u.Nosa.HitRate = 1
	if u.Nosa.Selected > 0 {
		u.Nosa.HitRate = float64(u.Nosa.Hits) / float64(u.Nosa.Selected)
	}
	return u
}

// usageSoFar is the usage of a stream of which a client has been sent so many tokens, if
// it asked to be told with every piece.
func (o *streamOptions) usageSoFar(a *asking, sent int) *usage {
	if o == nil || !o.ContinuousUsage {
		return nil
	}
	u := usageOf(a.answers)
	u.Completion, u.Total = sent, u.Prompt+sent
	return &u
}

// tokenBytes is a token's part of a text: what it adds after another one, as a
// vocabulary may drop a blank at the beginning.
func (s *Server) tokenBytes(id int32) []byte {
	t := s.Engine.Tokenizer
	one := t.DecodeBytes(nil, []int32{id}, false)
	return t.DecodeBytes(nil, []int32{id, id}, false)[len(one):]
}

func (s *Server) tokenText(id int32) string { return string([]rune(string(s.tokenBytes(id)))) }

// logProb is a log-probability that JSON can write.
func logProb(v float64) float64 {
	if math.IsInf(v, -1) || v < -9999 {
		return -9999
	}
	return v
}

// newAnswerID names an answer.
func newAnswerID(kind string) (id string, created int64) { return newID(kind), time.Now().Unix() }

// needText refuses where the model has no tokenizer.
func (s *Server) needText() error {
	if s.Engine.Tokenizer == nil {
		return fmt.Errorf("%w: %w", engine.ErrNoTokenizer, s.Engine.TokenizerErr)
	}
	return nil
}
