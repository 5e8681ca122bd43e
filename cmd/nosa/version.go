package main

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/cpu"
)

// version is set by release builds: -ldflags "-X main.version=v1.2.3".
var version string

// VersionCmd says what this program is, in the detail that a report about it needs.
type VersionCmd struct{}

// Version is what `nosa version --json` prints.
type Version struct {
	Version  string   `json:"version"`
	Commit   string   `json:"commit,omitempty"`
	Modified bool     `json:"modified,omitempty"` // built from a tree with changes that were not committed
	Go       string   `json:"go"`
	OS       string   `json:"os"`
	Arch     string   `json:"arch"`
	CPUs     int      `json:"cpus"`
	Features []string `json:"cpu_features"`
}

// Run prints it.
func (c *VersionCmd) Run(_ context.Context, g *Globals) error {
	v := thisVersion()
	if g.JSON {
		return writeJSON(g.Stdout, v)
	}
	commit := v.Commit
	if commit == "" {
		commit = "unknown commit"
	}
	if v.Modified {
		commit += " with changes"
	}
	machine := fmt.Sprintf("%s, %s/%s, %d processors: %s", v.Go, v.OS, v.Arch, v.CPUs, strings.Join(v.Features, " "))
	g.Stdout.Printf("nosa %s (%s)\n%s\n", v.Version, commit, g.Stdout.fold(machine))
	return nil
}

func thisVersion() Version {
	v := Version{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Features: cpuFeatures()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	if v.Version == "" || v.Version == "(devel)" {
		v.Version = "devel"
	}
	return v
}

// cpuFeatures lists what the processor has and the system lets us use, by the names of golang.org/x/sys/cpu.
func cpuFeatures() []string {
	var has any
	switch runtime.GOARCH {
	case "amd64", "386":
		has = cpu.X86
	case "arm64":
		has = cpu.ARM64
	default:
		return []string{}
	}
	features := []string{}
	v := reflect.ValueOf(has)
	for i := range v.NumField() {
		name, isFeature := strings.CutPrefix(v.Type().Field(i).Name, "Has")
		if isFeature && v.Field(i).Kind() == reflect.Bool && v.Field(i).Bool() {
			features = append(features, strings.ToLower(name))
		}
	}
	return features
}
