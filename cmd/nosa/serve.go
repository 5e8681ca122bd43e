package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"nosa/engine"
	"nosa/server"
	"nosa/trace"
)

// ServeCmd answers the OpenAI API over HTTP.
type ServeCmd struct {
	ModelFlags `embed:""`
	Log        LogFlags `embed:""`

	Addr      string   `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where to listen (${default})."`
	Name      string   `placeholder:"NAME" help:"Name of the model in the API; by default that of its file."`
	KeyFile   string   `name:"api-key-file" placeholder:"FILE" help:"Keys of those who may ask: one a line, alone or after a name, and then the word operator for one who may see and cancel the requests of all. SIGHUP reads it again."`
	Insecure  bool     `help:"Listen beyond this machine without keys."`
	HostNames []string `name:"host-name" placeholder:"NAME,…" help:"Names of this server in requests, besides localhost and its address; * allows any."`
	Cert      string   `name:"tls-cert" placeholder:"FILE" help:"Certificate, for HTTPS."`
	Key       string   `name:"tls-key" placeholder:"FILE" help:"Its key."`

	KVDiskKeep bool `name:"kv-disk-keep" help:"Keep what is in --kv-disk for the next start with the same model and settings: prompts that begin alike need not be read again."`

	Sequences int           `default:"16" placeholder:"N" help:"Requests that are worked on at once; others wait (${default})."`
	Seats     int           `placeholder:"N" help:"The same for requests that are shorter than --context or begin alike, such as questions about one document: the cache has room for --sequences whole ones, and as many of these as fit are worked on, up to this number; by default --sequences."`
	Queue     int           `default:"1024" placeholder:"N" help:"Requests that are open at once; more are refused (${default})."`
	PerKey    int           `default:"256" placeholder:"N" help:"Of them, those of one key (${default})."`
	Piece     int           `placeholder:"N" help:"Prompt tokens in a step beside answers that are being written; by default half of --chunk."`
	MaxTokens int           `placeholder:"N" help:"Tokens of an answer that says no number; by default what the context has left."`
	Args      []string      `name:"template-args" placeholder:"NAME,…" help:"Arguments of the model's chat template that requests may set in chat_template_kwargs; by default enable_thinking, thinking, thinking_budget, reasoning_effort and date_string."`
	Pooling   string        `default:"auto" enum:"auto,mean,last" help:"How the vector of a text is made: mean of its tokens, last of them, or auto, what the model's file says (${default})."`
	Body      ByteSize      `name:"max-body" default:"16MiB" placeholder:"SIZE" help:"Largest request (${default})."`
	Conns     int           `name:"connections" default:"16384" placeholder:"N" help:"Connections that are open at once; one more takes the place of the one that has been idle the longest (${default})."`
	Deadline  time.Duration `placeholder:"T" help:"How long a request may take in all, the queue included; by default as long as it does."`
	Drain     time.Duration `default:"30s" placeholder:"T" help:"How long requests may go on after SIGTERM (${default})."`
}

// serveContext is the context where --context says nothing: a request may have
// any length up to it, and memory is planned for it.
const serveContext = 8192

// Run implements the command.
func (c *ServeCmd) Run(ctx context.Context, g *Globals) (err error) {
	o, err := c.options()
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}
	log := c.Log.logger(g)
	spans, err := trace.Open(g.Getenv, log)
	if err != nil {
		return err
	}
	if spans != nil {
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			spans.Close(ctx)
		}()
	}
	src, err := c.source()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeSource(src)) }()
	if o.Context == 0 && o.RopeType == "" {
		o.Context = min(serveContext, src.Config.MaxPositions)
	}
	o.Sequences, o.Seats, o.Retain, o.DiskLast = c.Sequences, c.Seats, true, c.KVDiskKeep
	pooling := engine.Pooling(c.Pooling)
	if pooling == "auto" {
		if pooling, err = src.Pooling(); err != nil {
			return fmt.Errorf("%w: or say --pooling mean or last", err)
		}
	}
	listener, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("--addr %s: %w", c.Addr, err)
	}
	defer func() { _ = listener.Close() }() // by Shutdown too
	e, dev, err := c.open(g, src, o)
	if err != nil {
		return err
	}
	src = nil
	defer func() { err = errors.Join(err, e.Close(), dev.Close()) }()

	if found := e.Store().Stats().Published; found > 0 {
		tokens := found * e.Store().Cache().Block
		c.Log.tell(g, log, fmt.Sprintf("--kv-disk %s holds %d tokens of earlier prompts", o.DiskDir, tokens), "the disk holds earlier prompts", "dir", o.DiskDir, "tokens", tokens)
	}
	service := engine.NewService(e, engine.ServiceOptions{Queue: c.Queue, Piece: c.Piece}, log)
	defer service.Close()
	conns := server.NewConnections(connections(c.Conns))
	var draining atomic.Bool
	s := server.New(server.Config{
		Engine: e, Service: service, Model: c.name(), Pooling: pooling, TemplateArgs: c.Args, Conns: conns, Log: log, Trace: spans, LogPrompts: c.Log.Prompts, Keys: keys, Hosts: c.hosts(),
		Limits: server.Limits{Body: int64(c.Body), Streams: c.PerKey, MaxTokens: c.MaxTokens, Deadline: c.Deadline},
	}, func() bool { return !draining.Load() })
	h := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	conns.Bind(h)
	if keys != nil {
		defer c.reload(keys, log)()
	}
	ended := make(chan error, 1)
	scheme := "http"
	if c.Cert != "" {
		scheme = "https"
		h.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		go func() { ended <- h.ServeTLS(listener, c.Cert, c.Key) }()
	} else {
		go func() { ended <- h.Serve(listener) }()
	}
	url := fmt.Sprintf("%s://%s", scheme, listener.Addr())
	c.Log.tell(g, log, fmt.Sprintf("%s on %s (a page to look at, and the API under /v1); stop with Ctrl-C", c.name(), url), "serving",
		"model", c.name(), "url", url, "context", e.Plan().Context, "attention", e.Plan().Method)
	tell := func(state string) {
		if err := notify(g.Getenv, state); err != nil {
			log.Warn("the service manager was not told", "state", state, "error", err)
		}
	}
	tell("READY=1")
	select {
	case err := <-ended:
		return fmt.Errorf("--addr %s: %w", c.Addr, err)
	case <-ctx.Done():
	}
	draining.Store(true)
	tell("STOPPING=1")
	c.Log.tell(g, log, fmt.Sprintf("no more requests are taken; those that run have %s", c.Drain), "draining", "time", c.Drain)
	end := time.Now().Add(c.Drain)
	grace, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	if service.Drain(grace) != nil {
		log.Warn("requests were cut short", "after", c.Drain)
		service.Close()
	}
	// What has been answered may still be on its way to a slow client.
	last, cancel := context.WithTimeout(context.Background(), max(time.Second, time.Until(end)))
	defer cancel()
	if h.Shutdown(last) != nil {
		return h.Close()
	}
	return nil
}

// check refuses flags that contradict each other, and to listen for everybody.
func (c *ServeCmd) check() error {
	host, _, err := net.SplitHostPort(c.Addr)
	ip := net.ParseIP(host)
	switch {
	case err != nil:
		return usage("--addr %s: want HOST:PORT, such as 127.0.0.1:8080", c.Addr)
	case (c.Cert == "") != (c.Key == ""):
		return usage("--tls-cert and --tls-key belong together")
	case c.KVDiskKeep && c.KVDisk == "":
		return usage("--kv-disk-keep: there is nothing to keep without --kv-disk")
	case c.KeyFile == "" && !c.Insecure && host != "localhost" && (ip == nil || !ip.IsLoopback()):
		return usage("--addr %s: others could ask without a key: give --api-key-file FILE, or say --insecure", c.Addr)
	case c.Seats != 0 && c.Seats < c.Sequences:
		return usage("--seats %d: want as many as --sequences %d or more", c.Seats, c.Sequences)
	case c.Sequences < 1 || c.Queue < 1 || c.PerKey < 1 || c.Conns < 1 || c.Piece < 0 || c.MaxTokens < 0 || c.Body < 1 || c.Deadline < 0 || c.Drain < 0:
		return usage("--sequences, --queue, --per-key, --connections, --piece, --max-tokens, --max-body, --deadline and --drain take numbers above 0")
	}
	chunk := engine.DefaultChunk
	if c.Chunk != nil {
		chunk = *c.Chunk
	}
	if c.Sequences >= chunk {
		return usage("--sequences %d: want fewer than --chunk %d, so that prompts have room beside answers", c.Sequences, chunk)
	}
	return nil
}

// keys reads those who may ask; nil: everybody.
func (c *ServeCmd) keys() (*server.Keys, error) {
	if c.KeyFile == "" {
		return nil, nil
	}
	k := &server.Keys{}
	if err := k.Load(c.KeyFile); err != nil {
		return nil, fmt.Errorf("--api-key-file: %w", reason(err))
	}
	return k, nil
}

// connections is how many there may be: as many as were asked for, if the process may
// have so many files open beside its own.
func connections(asked int) int {
	const own = 128
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) != nil || files.Cur > uint64(asked+own) {
		return asked
	}
	return max(1, int(files.Cur)-own)
}

// reload reads the keys again at every SIGHUP, until the function is called that it
// returns.
func (c *ServeCmd) reload(k *server.Keys, log *slog.Logger) (stop func()) {
	again, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(again, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-again:
			case <-ended:
				return
			}
			if err := k.Load(c.KeyFile); err != nil {
				log.Error("the keys stay as they were", "error", err)
			} else {
				log.Info("the keys were read again")
			}
		}
	}()
	return func() {
		signal.Stop(again)
		close(ended)
	}
}

// name is the model's name in the API.
func (c *ServeCmd) name() string {
	if c.Name != "" {
		return c.Name
	}
	return strings.TrimSuffix(filepath.Base(c.Model), ".gguf")
}

// hosts are the names that requests may use.
func (c *ServeCmd) hosts() []string {
	names := append([]string(nil), c.HostNames...)
	for i, n := range names {
		names[i] = strings.ToLower(n)
	}
	host, _, _ := net.SplitHostPort(c.Addr) // was checked
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		names = append(names, strings.ToLower(host))
	}
	return names
}
