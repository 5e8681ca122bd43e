package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Keys are those who may ask, by a hash of their key. Load may be called while they
// are in use.
type Keys struct{ all atomic.Pointer[[]keyEntry] }

type keyEntry struct {
	name     string
	hash     [sha256.Size]byte
	operator bool // may see and cancel the requests of others
}

const (
	leastKey = 16      // bytes of a key
	mostKeys = 1 << 14 // in a file
)

// Load reads a file of keys: one a line, alone or after a name and a blank, and after
// both the word operator for one who may see and cancel the requests of others; lines
// that begin with # are comments. On an error the keys stay as they were.
func (k *Keys) Load(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var all []keyEntry
	for i, line := range strings.Split(string(data), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		operator := len(fields) == 3 && fields[2] == "operator"
		if operator {
			fields = fields[:2]
		}
		name, key := fmt.Sprintf("key %d", len(all)+1), fields[len(fields)-1]
		if len(fields) == 2 {
			name = fields[0]
		}
		switch {
		case len(fields) > 2:
			return fmt.Errorf("%s: line %d has %d words: want a key, a name and a key, or both and then operator", path, i+1, len(fields))
		case len(key) < leastKey:
			return fmt.Errorf("%s: line %d: the key has %d bytes: want %d or more", path, i+1, len(key), leastKey)
		case len(all) == mostKeys:
			return fmt.Errorf("%s: more than %d keys", path, mostKeys)
		}
		all = append(all, keyEntry{name, sha256.Sum256([]byte(key)), operator})
	}
	if len(all) == 0 {
		return fmt.Errorf("%s: there is no key in it: nobody could ask", path)
	}
	k.all.Store(&all)
	return nil
}

// Who tells whose key it is, and whether that is an operator. The time that it takes depends on the number of keys
// alone.
func (k *Keys) Who(key string) (name string, operator, ok bool) {
	hash, found := sha256.Sum256([]byte(key)), -1
	all := k.all.Load()
	if all == nil {
		return "", false, false
	}
	for i := range *all {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(hash[:], (*all)[i].hash[:]), i, found)
	}
	if found < 0 {
		return "", false, false
	}
	return (*all)[found].name, (*all)[found].operator, true
}

type contextKey int

const (
	idKey contextKey = iota
	tenantKey
	operatorKey
	accountKey
)

func requestID(r *http.Request) string { id, _ := r.Context().Value(idKey).(string); return id }

func tenant(r *http.Request) string { name, _ := r.Context().Value(tenantKey).(string); return name }

func operator(r *http.Request) bool { is, _ := r.Context().Value(operatorKey).(bool); return is }

// identified gives each request an id, which the answer's headers and the log name, and a
// time for its body.
func (s *Server) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := newID("req_")
		w.Header().Set("X-Request-Id", id)
		// Of bodies that nobody reads too: the connection waits for their rest.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.Limits.BodyTime)) // not of a recorder in a test
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), idKey, id)))
	})
}

func newID(prefix string) string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + hex.EncodeToString(b[:])
}

// recovered turns a bug into an answer, if none has begun.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if err, ok := v.(error); v == nil || ok && errors.Is(err, http.ErrAbortHandler) {
				return
			}
			s.Log.Error("internal error: this is a bug", "id", requestID(r), "error", v, "stack", string(debug.Stack()))
			writeJSON(w, http.StatusInternalServerError, &apiError{Kind: kindServer, Message: "internal error: this is a bug of the server, whose log says more"})
		}()
		next.ServeHTTP(w, r)
	})
}

// host refuses requests for another host, which a page of a stranger sends from the
// browser of somebody who may ask, once the stranger's name points here.
func (s *Server) host(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Host
		if h, _, err := net.SplitHostPort(name); err == nil {
			name = h
		}
		name = strings.ToLower(strings.Trim(name, "[]"))
		ip := net.ParseIP(name)
		if name == "localhost" || ip != nil && ip.IsLoopback() || slices.Contains(s.Hosts, name) || slices.Contains(s.Hosts, "*") {
			next.ServeHTTP(w, r)
			return
		}
		s.refuse(w, r, &apiError{Code: http.StatusMisdirectedRequest, Kind: kindInvalid, Name: "unknown_host", Message: "this server is not known by the name that the request asks for: --host-name allows one"})
	})
}

// guard lets those pass who have a key, with bodies that are not too long.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Keys != nil {
			scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			name, op, ok := "", false, false
			if strings.EqualFold(scheme, "Bearer") {
				name, op, ok = s.Keys.Who(strings.TrimSpace(key))
			}
			if !ok {
				w.Header().Set("WWW-Authenticate", `Bearer realm="nosa"`)
				s.refuse(w, r, &apiError{Code: http.StatusUnauthorized, Kind: kindKey, Name: "invalid_api_key", Message: "a key is needed: send it as Authorization: Bearer KEY"})
				return
			}
			ctx := context.WithValue(r.Context(), tenantKey, name)
			r = r.WithContext(context.WithValue(ctx, operatorKey, op))
			accountOf(r).tenant = name
		}
		body, err := s.hold(w, r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		defer body.release()
		r.Body = body
		next.ServeHTTP(w, r)
	})
}

// streams counts the open requests of each tenant.
type streams struct {
	most int
	mu   sync.Mutex
	open map[string]int
}

// enter takes a place, or says that there is none.
func (s *streams) enter(tenant string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[tenant] >= s.most {
		return nil, &apiError{Code: http.StatusTooManyRequests, Kind: kindRate, Name: "rate_limit_exceeded", Message: fmt.Sprintf("%d requests are open, which is as many as there may be", s.most), Retry: 1}
	}
	if s.open == nil {
		s.open = map[string]int{}
	}
	s.open[tenant]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open[tenant]--; s.open[tenant] == 0 {
			delete(s.open, tenant)
		}
	}, nil
}
