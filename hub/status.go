package hub

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// check turns every status but success into an error that says what to do. 416 is left to the caller, who knows what
// range was asked for; a redirect that the caller wants to see (moved) is a success.
func (c *Client) check(a *answer, moved bool) error {
	host := a.Request.URL.Host
	if moved {
		return nil
	}
	switch code := a.StatusCode; {
	case code == http.StatusOK || code == http.StatusPartialContent || code == http.StatusRequestedRangeNotSatisfiable:
		if enc := a.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
			return wrong("%s: sent Content-Encoding %q, asked for none: %w", host, clip(enc), ErrProtocol)
		}
		return nil
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		return c.busy(a)
	case !a.home && (code == http.StatusForbidden || code == http.StatusUnauthorized || code == http.StatusNotFound || code == http.StatusGone):
		// A signed address has run out while we waited: the hub gives a new one.
		return passing("%s: status %d for the address that the hub gave: %w", host, code, ErrUnavailable)
	case code == http.StatusUnauthorized || code == http.StatusForbidden || code == http.StatusNotFound:
		return c.refused(a)
	}
	return fmt.Errorf("%s: unexpected status %s%s: %w", host, a.Status, after(": ", shown(a)), ErrProtocol)
}

// refused explains 401, 403 and 404 of the hub. The hub says 401 for a model that does not exist when nobody is logged
// in, so that private names stay private.
func (c *Client) refused(a *answer) error {
	words := after(": ", shown(a))
	token := "set HF_TOKEN if it is private"
	if c.cfg.Token != "" {
		token = "or the token in use may not see it"
	}
	switch kind := a.Header.Get("X-Error-Code"); {
	case kind == "GatedRepo":
		if c.cfg.Token == "" {
			token = "then set HF_TOKEN"
		} else {
			token = "with the account of the token in use"
		}
		return fmt.Errorf("the model is gated: accept its terms on its page at %s, %s%s: %w", c.endpoint, token, words, ErrAccess)
	case kind == "RevisionNotFound":
		return fmt.Errorf("no such revision%s: %w", words, ErrNotFound)
	case kind == "EntryNotFound":
		return fmt.Errorf("no such file in this revision%s: %w", words, ErrNotFound)
	case kind == "RepoNotFound", a.StatusCode == http.StatusNotFound, a.StatusCode == http.StatusUnauthorized && c.cfg.Token == "":
		return fmt.Errorf("no such model at %s: check the name, %s%s: %w", c.endpoint, token, words, ErrNotFound)
	case a.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s does not take the token: make a new one or unset HF_TOKEN%s: %w", c.endpoint, words, ErrAccess)
	}
	return fmt.Errorf("%s refuses this%s: %w", c.endpoint, words, ErrAccess)
}

// busy is an answer that says "later".
func (c *Client) busy(a *answer) error {
	wait := retryAfter(a.Header, time.Now())
	err := fmt.Errorf("%s: status %d%s: %w", a.Request.URL.Host, a.StatusCode, after(": ", shown(a)), ErrUnavailable)
	if wait > c.cfg.MaxWait {
		return fmt.Errorf("%w; it asks to wait %v: try again then", err, wait.Round(time.Second))
	}
	return &transient{err: err, wait: wait}
}

// rateLimit is the hub's header on its fixed windows: "api";r=0;t=55 has nothing remaining and starts anew in 55 s.
var rateLimit = regexp.MustCompile(`"\w{1,40}"\s*;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,9})\b`)

// retryAfter is the pause that a server asks for, 0 if it names none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if m := rateLimit.FindStringSubmatch(h.Get("RateLimit")); m != nil {
		if s, err := strconv.Atoi(m[1]); err == nil {
			return time.Duration(s+1) * time.Second // its clock may be a second ahead of ours
		}
	}
	v := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}

// errorField reads {"error": "…"}; anything else is no message.
func errorField(b []byte) string {
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(b, &body) != nil {
		return ""
	}
	return body.Error
}

func after(lead, s string) string {
	if s == "" {
		return ""
	}
	return lead + s
}
