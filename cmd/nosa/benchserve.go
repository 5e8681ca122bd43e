package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"nosa/bench/load"
	"nosa/client"
)

// BenchServeCmd measures how a server answers under load.
type BenchServeCmd struct {
	ServerFlags `embed:""`
	URL         string `arg:"" optional:"" default:"http://127.0.0.1:8080" help:"Address of the server (${default}); the path of its API if that is not /v1."`
	Endpoint    string `default:"completions" enum:"completions,chat" help:"What is asked: ${enum}."`

	Requests    int           `default:"100" placeholder:"N" help:"Requests that are measured (${default})."`
	Warmup      int           `default:"1" placeholder:"N" help:"Requests beforehand, which are not (${default})."`
	Concurrency int           `placeholder:"N" help:"Closed loop: clients, each of which asks when it has its answer; by default 1. With --rate: requests that are open at once, the others wait."`
	Rate        float64       `placeholder:"R" help:"Open loop: requests a second, at random times."`
	Burstiness  float64       `default:"1" placeholder:"B" help:"With --rate: 1 is a Poisson process, less comes in bursts, more is more even (${default})."`
	Timeout     time.Duration `default:"10m" placeholder:"T" help:"For one request (${default})."`

	Input     string `name:"input-tokens" default:"512" placeholder:"MIX" help:"Lengths of prompts: N, LOW-HIGH, or a mixture with weights such as 100-1000@9,16384@1 (${default})."`
	Output    string `name:"output-tokens" default:"128" placeholder:"MIX" help:"Lengths of answers, likewise (${default})."`
	Shared    int    `name:"shared-prefix" placeholder:"N" help:"Tokens that all prompts begin with, besides. By default no two have a beginning in common."`
	TokenIDs  string `name:"token-ids" default:"1000-30000" placeholder:"LOW-HIGH" help:"Prompts of completions are random ids from here (${default})."`
	Words     bool   `help:"Prompts are made-up words, for servers that take no ids; those of chats always are."`
	Text      string `placeholder:"FILE" help:"Prompts are parts of this text, - for standard input."`
	IgnoreEnd bool   `name:"ignore-eos" help:"Ask for answers that go on after the end of the text, so that lengths are as said."`
	Extra     string `name:"extra-body" placeholder:"JSON" help:"An object whose fields are added to every request."`
	Seed      uint64 `placeholder:"S" help:"The same seed asks the same; by default one is drawn, since a cache may know what was asked before."`

	Goodput []string `placeholder:"GOAL,…" help:"Count requests that meet goals in milliseconds: ttft:500,tpot:50,e2el:5000."`
	Detail  bool     `help:"With --json: the values of every request too."`
}

// keptConnections is how many connections the open loop keeps between requests.
const keptConnections = 1024

// Run implements the command.
func (c *BenchServeCmd) Run(ctx context.Context, g *Globals) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	if err := config.Check(); err != nil {
		return usage("%v", err)
	}
	if c.Text != "" {
		if config.Text, err = readText(ctx, g, "--text", c.Text); err != nil {
			return err
		}
	}
	kept := config.Concurrency
	if kept == 0 {
		kept = min(config.Requests, keptConnections)
	}
	if config.Client, err = c.connect(g, c.URL, kept); err != nil {
		return err
	}
	defer config.Client.Close()
	if config.Model, err = c.model(ctx, config.Client); err != nil {
		return err
	}
	config.Note = func(s string) { g.note("note: %s", s) }
	g.note("%s on %s; seed %d", printable(config.Model, maxCell), config.Client.Address(), config.Seed)
	bar := newProgress(g, "requests", int64(config.Requests), "requests")
	defer bar.Finish()
	config.Progress = func(done, failed int) {
		note := ""
		if failed > 0 {
			note = fmt.Sprintf("%d failed", failed)
		}
		bar.Note(int64(done), int64(config.Requests), note)
	}
	report, err := load.Run(ctx, config)
	bar.Finish()
	if report == nil {
		return fmt.Errorf("%s: %w", config.Client.Address(), err)
	}
	if g.JSON {
		if err := writeJSON(g.Stdout, report.JSON(c.Detail)); err != nil {
			return err
		}
	} else {
		writeLoad(g.Stdout, report, &config)
	}
	if err == nil && report.Failed > 0 {
		f := report.Failures[0]
		err = fmt.Errorf("%d of %d requests failed; %d so: %s", report.Failed, len(report.Results), f.Count, f.Reason)
	}
	return err
}

// config turns the flags into a run.
func (c *BenchServeCmd) config() (config load.Config, err error) {
	config = load.Config{
		Path: client.Completions, Requests: c.Requests, Warmup: c.Warmup, Concurrency: c.Concurrency,
		Rate: c.Rate, Burstiness: c.Burstiness, Shared: c.Shared, Words: c.Words, IgnoreEnd: c.IgnoreEnd,
		Timeout: c.Timeout, Seed: c.Seed, Keep: c.Detail,
	}
	if c.Endpoint == "chat" {
		config.Path = client.Chat
	}
	if c.Concurrency == 0 && c.Rate == 0 {
		config.Concurrency = 1
	}
	if c.Seed == 0 {
		config.Seed = uint64(rand.Uint32()) + 1
	}
	if config.Input, err = load.ParseMix(c.Input, 1); err != nil {
		return config, usage("--input-tokens: %v", err)
	}
	if config.Output, err = load.ParseMix(c.Output, 1); err != nil {
		return config, usage("--output-tokens: %v", err)
	}
	if config.Goals, err = load.ParseGoals(strings.Join(c.Goodput, ",")); err != nil {
		return config, usage("--goodput: %v", err)
	}
	low, high, _ := strings.Cut(c.TokenIDs, "-")
	from, err := strconv.Atoi(low)
	if err == nil {
		config.LowID = from
		config.HighID, err = strconv.Atoi(high)
		config.HighID++
	}
	if err != nil {
		return config, usage("--token-ids %.60q: want LOW-HIGH, such as 1000-30000", c.TokenIDs)
	}
	if c.Extra != "" {
		if err := json.Unmarshal([]byte(c.Extra), &config.Extra); err != nil {
			return config, usage("--extra-body: want a JSON object, such as {\"top_k\":1}: %v", err)
		}
	}
	if c.Words && c.Text != "" {
		return config, usage("--words and --text: give one of them")
	}
	return config, nil
}
