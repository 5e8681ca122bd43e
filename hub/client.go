package hub

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultEndpoint is the hub that is asked when no mirror is named.
const DefaultEndpoint = "https://huggingface.co"

// Config says which hub to ask, as whom, and where the store is. Only Dir has no default.
type Config struct {
	Endpoint string        // address of the hub or a mirror, http or https; "": DefaultEndpoint
	Token    string        // bearer token, sent to Endpoint and to no other host; "": ask as nobody
	Dir      string        // folder of the store; made when the first pull needs it
	Offline  bool          // refuse everything that needs the network
	HTTP     *http.Client  // its transport and jar are used, its redirect rule is not; nil: a transport of our own
	Log      *slog.Logger  // retries and warnings; nil: nowhere
	Retries  int           // tries in a row that bring nothing new, after the first; 0: 5, negative: none
	Idle     time.Duration // longest time without progress worth the name (32 KiB); 0: 30 s
	MaxWait  time.Duration // longest pause that a server may ask for; 0: 5 minutes
	Parallel int           // files at a time; 0: 4
	Agent    string        // User-Agent; "": nosa
}

// Client pulls models into one store and finds them there. It may be used by several goroutines.
type Client struct {
	cfg      Config
	endpoint *url.URL
	http     *http.Client
	log      *slog.Logger
	backoff  time.Duration                    // first pause between tries; tests shorten it
	free     func(dir string) (uint64, error) // bytes free on the disk of dir; tests fill it up
}

// New checks cfg and returns a client. It touches neither network nor disk.
func New(cfg Config) (*Client, error) {
	if cfg.Dir == "" {
		return nil, fmt.Errorf("hub: no folder for the store: %w", ErrName)
	}
	if cfg.Endpoint == "" {
		cfg.Endpoint = DefaultEndpoint
	}
	endpoint, err := parseEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if _, err := checkToken(cfg.Token, "the settings"); err != nil {
		return nil, err
	}
	if cfg.Retries == 0 {
		cfg.Retries = 5
	}
	cfg.Retries = max(cfg.Retries, 0)
	if cfg.Idle <= 0 {
		cfg.Idle = 30 * time.Second
	}
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = 5 * time.Minute
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 4
	}
	if cfg.Agent == "" {
		cfg.Agent = "nosa"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, endpoint: endpoint, log: cfg.Log, backoff: 500 * time.Millisecond, free: freeBytes}
	c.http = c.newHTTP()
	return c, nil
}

// newHTTP copies the caller's client, so that our redirect rule does not change it, or makes one that bounds headers.
func (c *Client) newHTTP() *http.Client {
	h := &http.Client{}
	if c.cfg.HTTP != nil {
		*h = *c.cfg.HTTP
		h.Timeout = 0 // a bound on the whole transfer would end every large file; Idle bounds it instead
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t = t.Clone() // proxies from the environment, dial and TLS timeouts
		t.MaxResponseHeaderBytes = 256 << 10
		t.MaxIdleConnsPerHost = c.cfg.Parallel
		h.Transport = t
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return h
}

func parseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(s, "/"))
	if err != nil {
		return nil, fmt.Errorf("hub: endpoint %q is no address: %w", clip(s), ErrName)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("hub: endpoint %q: want http:// or https://: %w", clip(s), ErrName)
	case u.Host == "":
		return nil, fmt.Errorf("hub: endpoint %q names no host: %w", clip(s), ErrName)
	case u.User != nil:
		return nil, fmt.Errorf("hub: the endpoint holds a password: give it as HF_TOKEN instead: %w", ErrName)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("hub: endpoint %q: want an address without ? and #: %w", clip(s), ErrName)
	}
	return u, nil
}

// apiURL is the address of the manifest of a revision. A revision's slashes are part of its name, so they are escaped.
func (c *Client) apiURL(r Ref) string {
	return c.endpoint.String() + "/api/models/" + r.Model() + "/revision/" + url.PathEscape(r.Revision) + "?blobs=true"
}

// resolveURL is the address of a file of a commit.
func (c *Client) resolveURL(r Ref, commit, file string) string {
	parts := strings.Split(file, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return c.endpoint.String() + "/" + r.Model() + "/resolve/" + commit + "/" + strings.Join(parts, "/")
}

// home tells whether u is at the hub itself: same scheme, host and port. The token goes there alone.
func (c *Client) home(u *url.URL) bool {
	return u.Scheme == c.endpoint.Scheme && strings.EqualFold(u.Host, c.endpoint.Host)
}
