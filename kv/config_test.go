package kv

import (
	"errors"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/kv/vfs"
)

func TestConfigRefused(t *testing.T) {
	good := Config{Layout: testLayout, Layers: 2, Blocks: 40}
	for name, tc := range map[string]struct {
		change func(*Config)
		is     error
		says   string
	}{
		"layout":           {func(c *Config) { c.Layout.Dim = 0 }, compute.ErrLayout, "0 channels"},
		"half a column":    {func(c *Config) { c.Blocks = 42 }, ErrConfig, "42 blocks"},
		"layers":           {func(c *Config) { c.Layers = 0 }, ErrConfig, "0 layers"},
		"no blocks":        {func(c *Config) { c.Blocks = 0 }, ErrConfig, "blocks"},
		"negative slots":   {func(c *Config) { c.Slots = -1 }, ErrConfig, "slots"},
		"negative pages":   {func(c *Config) { c.HostPages = -1 }, ErrConfig, "host pages"},
		"negative workers": {func(c *Config) { c.Workers = -1 }, ErrConfig, "workers"},
		"no home":          {func(c *Config) { c.Slots = 8 }, ErrConfig, "--kv-host 36 blocks (1728 bytes)"},
		"small host":       {func(c *Config) { c.Slots, c.HostPages = 8, 35 }, ErrConfig, "--kv-disk"},
		"keep without":     {func(c *Config) { c.Keep, c.HostPages = KeepSelected, 1 }, ErrConfig, "--kv-keep selected"},
		"disk alone":       {func(c *Config) { c.Disk = &Disk{Dir: "d"} }, ErrConfig, "--kv-host 48 bytes"},
		"disk nowhere":     {func(c *Config) { c.HostPages, c.Disk = 1, &Disk{} }, ErrConfig, "no directory"},
		"records":          {func(c *Config) { c.HostPages, c.Disk = 1, &Disk{Dir: "d", Records: -1} }, ErrConfig, "-1 records"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			tc.change(&cfg)
			_, err := Open(compute.Reference{}, cfg, nil)
			if !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v; want %v, saying %q", err, tc.is, tc.says)
			}
			if _, again := cfg.Footprint(); !errors.Is(again, tc.is) {
				t.Errorf("footprint: %v, want %v", again, tc.is)
			}
		})
	}
}

func TestConfigTakesTheTailsAway(t *testing.T) {
	cfg := Config{Layout: testLayout, Layers: 2, Blocks: 40, Slots: 8, HostPages: 36}
	s := openTest(t, cfg)
	closeTest(t, s)
}

func TestKeepNames(t *testing.T) {
	for _, k := range []Keep{KeepLRU, KeepSelected} {
		if got, err := ParseKeep(k.String()); got != k || err != nil {
			t.Errorf("%v: %v, %v", k, got, err)
		}
	}
	if _, err := ParseKeep("all"); !errors.Is(err, ErrConfig) {
		t.Errorf("all: %v, want %v", err, ErrConfig)
	}
}

func TestRecordBytes(t *testing.T) {
	for name, tc := range map[string]struct {
		layout compute.Layout
		disk   *Disk
		want   int
	}{
		"whole pages": {compute.Layout{Heads: 2, Dim: 128, Block: 64, Type: compute.KVBF16}, &Disk{Direct: true}, 32 << 10},
		"little lost": {compute.Layout{Heads: 2, Dim: 60, Block: 64, Type: compute.KVF32}, &Disk{Direct: true}, 32 << 10},
		"too much":    {compute.Layout{Heads: 2, Dim: 128, Block: 64, Type: compute.KVQ8}, &Disk{Direct: true}, 17920},
		"buffered":    {compute.Layout{Heads: 2, Dim: 60, Block: 64, Type: compute.KVF32}, &Disk{}, 30720},
		"no disk":     {compute.Layout{Heads: 2, Dim: 60, Block: 64, Type: compute.KVF32}, nil, 30720},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (Config{Layout: tc.layout, Disk: tc.disk}).RecordBytes(); got != tc.want {
				t.Errorf("%d bytes, want %d", got, tc.want)
			}
		})
	}
}

// TestFootprint holds the plan's figures against what Open takes.
func TestFootprint(t *testing.T) {
	for name, layout := range map[string]compute.Layout{
		"scores":       testLayout,
		"summaries":    {Heads: 2, Dim: 3, Block: 4, Kernel: 4, Stride: 2, Type: compute.KVF32},
		"neither":      {Heads: 1, Dim: 64, Block: 64, Type: compute.KVQ8},
		"scores alone": {Heads: 1, Dim: 8, Block: 16, Scores: true, Type: compute.KVQ4},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Layout: layout, Layers: 2, Blocks: 40, Slots: 8, HostPages: 10, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d", Direct: true}}
			want, err := cfg.Footprint()
			if err != nil {
				t.Fatal(err)
			}
			s := openTest(t, cfg)
			q, err := s.NewSequence(SequenceOptions{Tokens: 10})
			if err != nil {
				t.Fatal(err)
			}
			size := func(t compute.Tensor) int64 { return int64(len(t.Data)) }
			c := s.Cache()
			got := Footprint{
				Slots:     size(c.Slots),
				Summaries: size(c.Segments) + size(c.SegScore) + size(c.Score),
				Tails:     size(q.tail),
				Host:      int64(len(s.host.arena)),
				Disk:      int64(s.disk.most * s.disk.stride),
				Maps:      want.Maps,
			}
			if got != want {
				t.Errorf("took %+v, said %+v", got, want)
			}
			if min := int64(len(s.blocks)) * blockSize; want.Maps < min {
				t.Errorf("maps of %d bytes, the blocks alone take %d", want.Maps, min)
			}
			q.Free()
			closeTest(t, s)
		})
	}
}
