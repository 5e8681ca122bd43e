package server

import (
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"nosa/engine"
	"nosa/trace"
)

// Config is what a Server is made of.
type Config struct {
	Engine  *engine.Engine
	Service *engine.Service
	Model   string // the name by which clients ask for it
	// TemplateArgs are arguments of the chat template that requests may set, if the
	// model's template reads them; nil: DefaultTemplateArgs.
	TemplateArgs []string
	Pooling      engine.Pooling // of vectors; empty: engine.PoolMean
	Log          *slog.Logger

	Trace      *trace.Exporter // nil: no spans
	LogPrompts bool            // prompts and answers are in the log, the first 4 KiB of each

	Keys   *Keys        // nil: everybody may ask
	Conns  *Connections // for /metrics; nil: not counted
	Hosts  []string     // names in the Host header, besides those of loopback; "*": any
	Limits Limits
}

// Limits bound what a request may take.
type Limits struct {
	Body      int64         // bytes; 0: 16 MiB
	Bodies    int64         // bytes of all bodies that are being read; 0: 16 times Body
	Streams   int           // open requests of a key, or of all without keys; 0: 256
	Choices   int           // n; 0: 16
	MaxTokens int           // of an answer that says nothing; 0: as many as the context has left
	Deadline  time.Duration // that a request may take in all, the queue included; 0: any
	BodyTime  time.Duration // that a client may take for its request's body; 0: 1 min
	Write     time.Duration // that a client may take for a piece of its answer; 0: 30 s
	KeepAlive time.Duration // after which a stream without news says that it lives; 0: 15 s
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	set(&l.Streams, 256)
	set(&l.Choices, 16)
	if l.Body == 0 {
		l.Body = 16 << 20
	}
	if l.Bodies == 0 {
		l.Bodies = 16 * l.Body
	}
	if l.BodyTime == 0 {
		l.BodyTime = time.Minute
	}
	if l.Write == 0 {
		l.Write = 30 * time.Second
	}
	if l.KeepAlive == 0 {
		l.KeepAlive = 15 * time.Second
	}
	return l
}

// Server answers HTTP requests.
type Server struct {
	Config
	began   time.Time
	ready   func() bool
	streams streams
	board   board
	looking chan struct{} // taken by who looks at blocks
	bodies  bodies
	counts  metrics
}

// New makes a server. ready says whether requests are taken, for /readyz; nil: always.
func New(cfg Config, ready func() bool) *Server {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.TemplateArgs == nil {
		cfg.TemplateArgs = DefaultTemplateArgs
	}
	if cfg.Pooling == "" {
		cfg.Pooling = engine.PoolMean
	}
	if ready == nil {
		ready = func() bool { return true }
	}
	return &Server{Config: cfg, began: time.Now(), ready: ready, streams: streams{most: cfg.Limits.Streams}, bodies: bodies{most: cfg.Limits.Bodies}, looking: make(chan struct{}, 1)}
}

// Handler is the server's paths. All but those of health and the page's own files,
// which are the same everywhere, need a key, if there are keys.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", s.chatCompletions)
	mux.HandleFunc("POST /v1/completions", s.completions)
	mux.HandleFunc("POST /v1/embeddings", s.embeddings)
	mux.HandleFunc("GET /v1/models", s.models)
	mux.HandleFunc("GET /v1/models/{name...}", s.model)
	mux.HandleFunc("GET /metrics", s.metricsPage)
	mux.HandleFunc("POST /tokenize", s.tokenize)
	mux.HandleFunc("POST /detokenize", s.detokenize)
	mux.HandleFunc("GET /nosa/state", s.state)
	mux.HandleFunc("GET /nosa/cache", s.cache)
	mux.HandleFunc("POST /nosa/requests/{id}/cancel", s.cancel)
	mux.HandleFunc("GET /tokenizer_info", s.tokenizerInfo)
	mux.HandleFunc("GET /openapi.json", s.openAPI)
	open := http.NewServeMux()
	open.HandleFunc("GET /healthz", s.healthz)
	open.HandleFunc("GET /readyz", s.readyz)
	open.HandleFunc("GET /health", s.readyz) // by which other servers of this API are asked
	open.Handle("GET /{$}", pageFiles)
	open.Handle("GET /page/{file}", pageFiles)
	rest := s.guard(s.known(mux, open))
	return s.identified(s.accounted(s.recovered(s.host(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := open.Handler(r); pattern != "" {
			open.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})))))
}

// known hands on what a path of the mux takes, if its body is JSON, and answers all else
// in the API's own way. open has paths that were looked at before.
func (s *Server) known(mux, open *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			// A page of a stranger can not send this kind without being asked first.
			if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Method == http.MethodPost && (err != nil || kind != "application/json") {
				s.refuse(w, r, &apiError{Code: http.StatusUnsupportedMediaType, Kind: kindInvalid, Message: "want a body of JSON: Content-Type: application/json"})
				return
			}
			mux.ServeHTTP(w, r)
			return
		}
		// The muxes know whether another method would do.
		for _, m := range []*http.ServeMux{mux, open} {
			probe := &statusOnly{header: http.Header{}}
			m.ServeHTTP(probe, r)
			if probe.code == http.StatusMethodNotAllowed {
				w.Header().Set("Allow", probe.header.Get("Allow"))
				s.refuse(w, r, &apiError{Code: http.StatusMethodNotAllowed, Kind: kindInvalid, Message: fmt.Sprintf("%.20s is not for %.200q: want %s", r.Method, r.URL.Path, w.Header().Get("Allow"))})
				return
			}
		}
		s.refuse(w, r, &apiError{Code: http.StatusNotFound, Kind: kindInvalid, Message: fmt.Sprintf("there is no %.20s %.200q", r.Method, r.URL.Path)})
	})
}

// statusOnly takes the status of an answer and nothing else.
type statusOnly struct {
	header http.Header
	code   int
}

func (w *statusOnly) Header() http.Header         { return w.header }
func (w *statusOnly) WriteHeader(code int)        { w.code = code }
func (w *statusOnly) Write(p []byte) (int, error) { return len(p), nil }
