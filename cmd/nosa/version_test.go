package main

import (
	"encoding/json"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	r := nosa(t, nil, "version", "--json")
	var v Version
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || r.code != exitDone {
		t.Fatalf("%+v, %v", r, err)
	}
	if v.Version == "" || v.Go != runtime.Version() || v.OS != runtime.GOOS || v.Arch != runtime.GOARCH || v.CPUs < 1 || v.Features == nil {
		t.Errorf("got %+v", v)
	}
	if runtime.GOARCH == "amd64" && !slices.Contains(v.Features, "sse2") {
		t.Errorf("an amd64 processor without sse2: %v", v.Features)
	}
	if r := nosa(t, nil, "version"); !strings.HasPrefix(r.out, "nosa "+v.Version) || strings.Count(r.out, "\n") != 2 {
		t.Errorf("got %+v", r)
	}
}
