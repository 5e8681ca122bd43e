package train

import (
	"fmt"
	"math"
	"path"
	"slices"

	"nosa/attention"
)

// Limits on what a config may ask for: far above any run, low enough that no product of them overflows.
const (
	maxSteps  = 1 << 30
	maxTokens = 1 << 28
)

// Validate refuses what no run can follow, by the name of the field. What belongs to the model's
// shape is checked where config.json is made of it.
func (c *Config) Validate() error {
	for _, check := range []func() error{c.checkBatch, c.checkStages, c.checkLoss, c.checkOptimiser, c.checkRest} {
		if err := check(); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	return nil
}

func (c *Config) checkBatch() error {
	b := c.Batch
	switch {
	case b.Tokens < 1 || b.Tokens > maxTokens:
		return fmt.Errorf("batch.tokens is %d, want 1 to %d", b.Tokens, maxTokens)
	case b.Rows < 1 || b.Rows > b.Tokens || b.Tokens%b.Rows != 0:
		return fmt.Errorf("batch.rows is %d, want a number that divides batch.tokens, %d", b.Rows, b.Tokens)
	case b.HeadRows < 1:
		return fmt.Errorf("batch.head_rows is %d, want 1 or more", b.HeadRows)
	}
	_, err := parseRecompute(b.Recompute)
	return err
}

func (c *Config) checkStages() error {
	if len(c.Stages) == 0 {
		return fmt.Errorf("there is no [[stage]]: at least one says for how many steps to train, and how")
	}
	total := 0
	for i, s := range c.Stages {
		m, err := attention.ByName(s.Method)
		if err != nil {
			return fmt.Errorf("stage %d: method %q: want one of %v", i+1, s.Method, attention.Names())
		}
		switch {
		case s.Steps < 1 || s.Steps > maxSteps-total:
			return fmt.Errorf("stage %d: steps is %d, want 1 to %d in all", i+1, s.Steps, maxSteps)
		case s.Context < 1 || s.Context > c.Batch.Rows:
			return fmt.Errorf("stage %d: context is %d, want 1 to batch.rows, %d: a document is computed in one pass", i+1, s.Context, c.Batch.Rows)
		case s.RopeTheta != 0 && !positive(s.RopeTheta):
			return fmt.Errorf("stage %d: rope_theta is %v", i+1, s.RopeTheta)
		case s.chooses() && !m.Keeps().Means && !m.Keeps().Scores:
			return fmt.Errorf("stage %d: window_size, topk and topk_q are of methods that choose blocks, and method is %s", i+1, s.Method)
		}
		total += s.Steps
	}
	return nil
}

func (c *Config) checkLoss() error {
	switch w := c.Loss.Importance; {
	case !(w >= 0 && w <= 1e3):
		return fmt.Errorf("loss.importance is %v, want 0 to 1000", w)
	case w > 0 && !c.Scores():
		return fmt.Errorf("loss.importance is %v, but no stage has importance scores: they belong to nosa and dma", w)
	}
	return nil
}

func (c *Config) checkOptimiser() error {
	o := c.Optimiser
	steps := c.Steps()
	switch {
	case !positive(o.Rate):
		return fmt.Errorf("optimiser.rate is %v, want a number above 0", o.Rate)
	case !slices.Contains(schedules, o.Schedule):
		return fmt.Errorf("optimiser.schedule is %q, want one of %v", o.Schedule, schedules)
	case o.Warmup < 0 || o.Warmup > steps:
		return fmt.Errorf("optimiser.warmup is %d, want 0 to the %d steps of the stages", o.Warmup, steps)
	case o.Schedule == scheduleWSD && (o.Decay < 0 || o.Decay > steps-o.Warmup):
		return fmt.Errorf("optimiser.decay is %d, want 0 to the %d steps after the warm-up", o.Decay, steps-o.Warmup)
	case o.Schedule != scheduleWSD && o.Decay != 0:
		return fmt.Errorf("optimiser.decay is %d, but schedule is %s: decay belongs to wsd", o.Decay, o.Schedule)
	case !(o.Floor >= 0 && o.Floor <= 1):
		return fmt.Errorf("optimiser.floor is %v, want 0 to 1", o.Floor)
	case !(o.Beta1 >= 0 && o.Beta1 < 1) || !(o.Beta2 >= 0 && o.Beta2 < 1):
		return fmt.Errorf("optimiser.beta1 and beta2 are %v and %v, want 0 to below 1", o.Beta1, o.Beta2)
	case !positive(o.Eps):
		return fmt.Errorf("optimiser.eps is %v, want a number above 0", o.Eps)
	case !(o.WeightDecay >= 0 && o.WeightDecay <= 1e3):
		return fmt.Errorf("optimiser.weight_decay is %v, want 0 to 1000", o.WeightDecay)
	case !(o.Clip >= 0) || math.IsInf(o.Clip, 0):
		return fmt.Errorf("optimiser.clip is %v, want 0 or more", o.Clip)
	}
	for i, g := range o.Groups {
		switch {
		case g.Match == "":
			return fmt.Errorf("optimiser.group %d: match is empty", i+1)
		case g.Rate < 0 || g.Rate > 1e6 || math.IsNaN(g.Rate):
			return fmt.Errorf("optimiser.group %d: rate is %v, want a factor of 0 or more", i+1, g.Rate)
		case g.WeightDecay != nil && !(*g.WeightDecay >= 0 && *g.WeightDecay <= 1e3):
			return fmt.Errorf("optimiser.group %d: weight_decay is %v, want 0 to 1000", i+1, *g.WeightDecay)
		}
	}
	return c.checkPatterns()
}

func (c *Config) checkPatterns() error {
	patterns := slices.Concat(c.Optimiser.Train, c.Optimiser.Freeze)
	for _, g := range c.Optimiser.Groups {
		patterns = append(patterns, g.Match)
	}
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("optimiser: pattern %q: %w", p, err)
		}
	}
	return nil
}

func (c *Config) checkRest() error {
	switch {
	case c.Out == "":
		return fmt.Errorf("out is missing: the folder of the run")
	case c.Evaluation.Every < 0 || c.Evaluation.Tokens < 1 || c.Evaluation.Tokens > maxTokens:
		return fmt.Errorf("evaluation.every is %d and evaluation.tokens %d, want 0 or more, and 1 to %d", c.Evaluation.Every, c.Evaluation.Tokens, maxTokens)
	case c.Checkpoint.Every < 1:
		return fmt.Errorf("checkpoint.every is %d, want 1 or more", c.Checkpoint.Every)
	case c.Checkpoint.Keep < 0:
		return fmt.Errorf("checkpoint.keep is %d, want 0 or more", c.Checkpoint.Keep)
	case !(c.Model.Init >= 0 && c.Model.Init < 10) || !(c.Model.InitScore >= 0 && c.Model.InitScore < 10):
		return fmt.Errorf("model.init and model.init_score are %v and %v, want 0 to 10", c.Model.Init, c.Model.InitScore)
	}
	for _, list := range [][]SourceConfig{c.Corpus.Train, c.Corpus.Heldout} {
		for _, s := range list {
			if s.Path == "" && s.Needles == 0 {
				return fmt.Errorf("corpus: a source has neither a path nor needles")
			}
			if s.Needles == 0 && (s.Questions != 0 || s.Digits != 0 || s.Shortest != 0 || s.Longest != 0 || s.AnswerOnly) {
				return fmt.Errorf("corpus: %s has settings of needles, and no needles", s.Path)
			}
		}
	}
	return nil
}

func positive(v float64) bool { return v > 0 && !math.IsInf(v, 0) }
