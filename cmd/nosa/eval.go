package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"nosa/builtin"
	"nosa/client"
	"nosa/engine"
	"nosa/eval"
)

// EvalCmd asks a model, or a server, the questions of long-context benchmarks.
type EvalCmd struct {
	ModelFlags `embed:""`

	Tasks    string       `placeholder:"NAME,…" help:"Tasks: niah (depth × length), ruler or any of its 13, infinite (passkey, kv_retrieval), longbench, longbench_e, longbench_v2 or any of their sets; measures: ppl, fidelity, locality." required:""`
	Methods  string       `placeholder:"NAME,…" help:"Methods of attention that are compared; by default that of --attention."`
	Policies []string     `sep:";" placeholder:"NAME[:KEY=VALUE,…]" help:"Policies of the KV cache that are compared, semicolons between them, each with each method; none is no policy. By default that of --policy."`
	Lengths  []TokenCount `default:"4096" placeholder:"N,…" help:"Tokens of a prompt with its answer, such as 4096 or 32K (${default})."`
	Samples  int          `default:"10" placeholder:"N" help:"Samples of each task and length (${default})."`
	Depths   int          `default:"10" placeholder:"N" help:"Depths of the NIAH grid (${default})."`
	Seed     uint64       `default:"42" placeholder:"S" help:"The same seed asks the same (${default})."`

	Book      string `placeholder:"FILE" help:"Running text: what needles lie in, and what is read by the measures."`
	Squad     string `placeholder:"FILE" help:"SQuAD's file, for qa_1."`
	Hotpot    string `name:"hotpotqa" placeholder:"FILE" help:"HotpotQA's file, for qa_2."`
	LongBench string `name:"longbench" placeholder:"DIR" help:"LongBench's files: data and config."`

	Out      string `default:"eval-results" placeholder:"DIR" help:"Folder of the results (${default}). What it has of the same run is not asked again."`
	Parallel int    `default:"1" placeholder:"N" help:"Questions at a time (${default}). Speeds are those of one question where it is 1."`
	Chat     bool   `help:"Ask as a user of a chat."`

	URL     string `name:"url" placeholder:"URL" help:"Ask a server of the OpenAI API instead. MODEL, if it is named, counts the tokens."`
	Served  string `name:"served-model" placeholder:"NAME" help:"Name of the server's model; by default its first."`
	KeyFile string `name:"api-key-file" placeholder:"FILE" help:"File with the server's key; by default it is in NOSA_API_KEY."`
}

// mostLength is the longest text that can be asked for.
const mostLength = 1 << 24

// Run implements the command.
func (c *EvalCmd) Run(ctx context.Context, g *Globals) (err error) {
	run, err := c.config()
	if err != nil {
		return err
	}
	if c.Book != "" {
		if run.Book, err = readText(ctx, g, "--book", c.Book); err != nil {
			return err
		}
		run.Facts["book"] = digest(run.Book)
	}
	var closers []io.Closer
	defer func() {
		for _, closer := range closers {
			err = errors.Join(err, closer.Close())
		}
	}()
	counts := c.URL == "" || c.Model != builtin.Name
	if counts {
		src, err := c.source()
		if err != nil {
			return err
		}
		closers = append(closers, src)
		if src.Tokenizer == nil {
			return fmt.Errorf("%w: %w", engine.ErrNoTokenizer, src.TokenizerErr)
		}
		if c.Chat && src.Template == nil && c.URL == "" {
			return fmt.Errorf("--chat: %s has no chat template", c.Model)
		}
		run.Count, run.Middle = eval.Texts{Source: src}.Count, eval.Texts{Source: src}.Middle
		if c.Chat { // the template's own tokens come on top
			run.Margin = chatMargin
		}
	} else {
		g.note("note: without a MODEL to count tokens, four bytes are taken for one")
		run.Count, run.Middle = eval.Estimate{}.Count, eval.Estimate{}.Middle
	}
	if c.URL != "" {
		served, err := c.serve(ctx, g, run)
		if err != nil {
			return err
		}
		closers = append(closers, served)
	} else if err := c.local(g, run); err != nil {
		return err
	}
	bar := newProgress(g, "eval", 0, "samples")
	defer bar.Finish()
	run.Progress = func(done, total int, what string) { bar.Note(int64(done), int64(total), what) }
	summary, err := run.Run(ctx)
	bar.Finish()
	if err != nil {
		if errors.Is(err, eval.ErrTask) {
			return usage("%w", err)
		}
		return err
	}
	if g.JSON {
		return writeJSON(g.Stdout, summary)
	}
	g.Stdout.Printf("%s", summary.Table())
	g.note("in %s: %s, %s, %s", c.Out, eval.ResultsFile, eval.SummaryFile, eval.TableFile)
	return nil
}

// chatMargin is kept free for a chat's template.
const chatMargin = 128

// config turns the flags into a run.
func (c *EvalCmd) config() (*eval.Config, error) {
	run := &eval.Config{
		Material: eval.Material{Seed: c.Seed, Depths: c.Depths, Squad: c.Squad, Hotpot: c.Hotpot, LongBench: c.LongBench},
		Tasks:    splitList(c.Tasks), Samples: c.Samples, Parallel: c.Parallel, Dir: c.Out,
		Facts: map[string]string{"chat": strconv.FormatBool(c.Chat), "depths": strconv.Itoa(c.Depths)},
	}
	if c.Samples < 1 || c.Samples > 1<<20 || c.Parallel < 1 || c.Parallel > 1024 {
		return nil, usage("--samples and --parallel take 1 and more, --parallel 1024 at most")
	}
	for _, n := range c.Lengths {
		if n < 1 || n > mostLength {
			return nil, usage("--lengths %d: want 1 to %d tokens", n, mostLength)
		}
		run.Lengths = append(run.Lengths, int(n))
	}
	methods := splitList(c.Methods)
	if c.Methods == "" {
		methods = []string{c.Attention}
	}
	policies := c.Policies
	if len(policies) == 0 {
		policies = []string{c.Policy}
	}
	for _, m := range methods {
		for _, p := range policies {
			if p = strings.TrimSpace(p); p == "none" {
				p = ""
			}
			run.Settings = append(run.Settings, eval.Setting{Method: m, Policy: p})
		}
	}
	return run, nil
}

// splitList takes a list with commas apart.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// digest names a text.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// local has engines of this process answer.
func (c *EvalCmd) local(g *Globals, run *eval.Config) error {
	run.Facts["model"] = filepath.Base(c.Model)
	for name, value := range map[string]string{
		"topk": strconv.Itoa(c.Topk), "topk_q": strconv.Itoa(c.TopkQ), "window": strconv.Itoa(c.Window), "kv_dtype": c.KVDtype, "numerics": c.Numerics, "rope_scaling": c.RopeScaling,
	} {
		run.Facts[name] = value
	}
	run.Start = func(_ context.Context, s eval.Setting, change func(*engine.Options)) (*engine.Engine, io.Closer, error) {
		flags := c.ModelFlags
		flags.Attention, flags.Policy = s.Method, s.Policy
		o, err := flags.options()
		if err != nil {
			return nil, nil, err
		}
		change(&o)
		src, err := flags.source()
		if err != nil {
			return nil, nil, err
		}
		quiet := *g
		quiet.Quiet = true // a bar is on the screen, and a plan for each engine says little
		e, dev, err := flags.open(&quiet, src, o)
		if err != nil {
			return nil, nil, errors.Join(err, src.Close())
		}
		return e, dev, nil
	}
	run.Answerer = func(ctx context.Context, s eval.Setting, longest int) (eval.Answerer, error) {
		return eval.NewLocal(ctx, run.Start, s, longest, c.Parallel, c.Chat)
	}
	return c.check(run)
}

// check plans an engine for each setting, so that one that can not be is refused before the others take their hours.
func (c *EvalCmd) check(run *eval.Config) (err error) {
	src, err := c.source()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	for _, s := range run.Settings {
		flags := c.ModelFlags
		flags.Attention, flags.Policy = s.Method, s.Policy
		o, err := flags.options()
		if err != nil {
			return err
		}
		o.Context, o.Sequences = slices.Max(run.Lengths), c.Parallel
		if _, err := src.Prepare(o); err != nil {
			return fmt.Errorf("%s: %w", s.Name(), err)
		}
	}
	return nil
}

// askedServer is a server that is asked.
type askedServer struct{ *client.Client }

func (s askedServer) Close() error {
	s.Client.Close()
	return nil
}

// serve has a server answer.
func (c *EvalCmd) serve(ctx context.Context, g *Globals, run *eval.Config) (io.Closer, error) {
	if c.Methods != "" || c.Policy != "" || len(c.Policies) > 0 {
		return nil, usage("--methods, --policy, --policies: a server runs those that it was started with")
	}
	flags := ServerFlags{Name: c.Served, KeyFile: c.KeyFile}
	asked, err := flags.connect(g, c.URL, c.Parallel)
	if err != nil {
		return nil, err
	}
	name, err := flags.model(ctx, asked)
	if err != nil {
		asked.Close()
		return nil, err
	}
	run.Facts["server"], run.Facts["model"] = asked.Address(), name
	run.Settings = []eval.Setting{{Method: "server"}}
	run.Answerer = func(context.Context, eval.Setting, int) (eval.Answerer, error) {
		return eval.NewRemote(asked, name, c.Chat), nil
	}
	return askedServer{asked}, nil
}
