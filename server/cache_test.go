package server

import (
	"errors"
	"net/http"
	"testing"

	"nosa/engine"
)

// FuzzCacheQuery: any query is refused in the API's own way, or asks for ranges that
// are some.
func FuzzCacheQuery(f *testing.F) {
	for _, q := range []string{"", "request=req_1&choice=2&layers=0-30&blocks=7-9", "layers=3-1", "blocks=-1-2", "choice=-5", "layers=0-0&layers=1-1", "%", "a;b", "blocks=1-99999999999999999999"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := readCacheQuery(raw)
		if err != nil {
			var e *apiError
			if !errors.As(err, &e) || e.Code != http.StatusBadRequest || e.Message == "" {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		for _, r := range []engine.Range{q.layers, q.blocks} {
			if r.From < 0 || r.To < r.From {
				t.Errorf("%q: %+v", raw, r)
			}
		}
	})
}
