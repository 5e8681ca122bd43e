package cpu

import (
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
)

func TestQuota(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for name, tc := range map[string]struct {
		files fstest.MapFS
		want  float64
	}{
		"no control groups": {fstest.MapFS{}, 0},
		"version 2": {fstest.MapFS{
			"proc/self/cgroup":                 file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/cpu.max":        file("max 100000\n"),
			"sys/fs/cgroup/a/cpu.max":          file("150000 100000\n"),
			"sys/fs/cgroup/unrelated/cpu.max":  file("1 100000\n"),
			"sys/fs/cgroup/a/b/inside/cpu.max": file("1 100000\n"),
		}, 1.5},
		"own group as the root": {fstest.MapFS{
			"proc/self/cgroup":      file("0::/docker/0123\n"),
			"sys/fs/cgroup/cpu.max": file("200000 100000\n"),
		}, 2},
		"version 1": {fstest.MapFS{
			"proc/self/cgroup":                        file("5:memory:/x\n4:cpu,cpuacct:/x\n"),
			"sys/fs/cgroup/cpu/x/cpu.cfs_quota_us":    file("300000\n"),
			"sys/fs/cgroup/cpu/x/cpu.cfs_period_us":   file("100000\n"),
			"sys/fs/cgroup/memory/x/cpu.cfs_quota_us": file("1\n"),
		}, 3},
		"version 1 without limit": {fstest.MapFS{
			"proc/self/cgroup":                            file("4:cpu,cpuacct:/\n"),
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":  file("-1\n"),
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": file("100000\n"),
		}, 0},
		"nonsense": {fstest.MapFS{
			"proc/self/cgroup":                file("::\n0::\n7:cpu\n0::/../../..\n"),
			"sys/fs/cgroup/cpu.max":           file("12 0\n"),
			"sys/fs/cgroup/cpu/cpu.max":       file("x y z\n"),
			"sys/fs/cgroup/unified/cpu.max":   file("99999999999999999999999 1\n"),
			"sys/fs/cgroup/cpu/cpu.something": file("1"),
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := cpuQuota(tc.files); got != tc.want {
				t.Errorf("got %v processors, want %v", got, tc.want)
			}
		})
	}
	if n := Threads(); n < 1 {
		t.Errorf("Threads() = %d", n)
	}
}

// count is a task that counts its pieces, and fails in one of them when asked.
type count struct {
	done [100]atomic.Int32
	fail int
}

func (c *count) run(_ *worker, piece int) {
	c.done[piece].Add(1)
	if piece == c.fail {
		panic("as asked")
	}
}

// TestTeam: every piece runs once, whatever the number of threads and pieces, and
// a failure comes out on the caller's goroutine and leaves the team usable.
func TestTeam(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 9} {
		team := newTeam(threads)
		for round := range 300 {
			c := &count{fail: -1}
			pieces := round % 100
			team.do(c, pieces)
			for i := range c.done {
				want := int32(0)
				if i < pieces {
					want = 1
				}
				if got := c.done[i].Load(); got != want {
					t.Fatalf("%d threads: piece %d of %d ran %d times", threads, i, pieces, got)
				}
			}
			if round%50 == 49 {
				func() {
					defer func() {
						if v := recover(); v == nil || !strings.Contains(toString(v), "as asked") {
							t.Errorf("%d threads: recovered %v", threads, v)
						}
					}()
					team.do(&count{fail: 7}, 20)
				}()
			}
		}
		team.close()
		team.close()
	}
}

func toString(v any) string {
	s, _ := v.(string)
	return s
}

// FuzzQuota: whatever the files hold, the answer is a limit above nothing, or none.
func FuzzQuota(f *testing.F) {
	f.Add("0::/a/b\n", "150000 100000", "-1", "100000")
	f.Add("4:cpu,cpuacct:/a/b\n3::\n::::\n", "max 100000", "300000", "0")
	f.Add("0::/../..//./\n", "9223372036854775807 1", "x", "")
	f.Fuzz(func(t *testing.T, groups, limit, quota, period string) {
		files := fstest.MapFS{
			"proc/self/cgroup":                        {Data: []byte(groups)},
			"sys/fs/cgroup/cpu.max":                   {Data: []byte(limit)},
			"sys/fs/cgroup/a/cpu.max":                 {Data: []byte(limit)},
			"sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us":  {Data: []byte(quota)},
			"sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us": {Data: []byte(period)},
		}
		if q := cpuQuota(files); !(q >= 0) || math.IsInf(q, 0) {
			t.Fatalf("a quota of %v", q)
		}
	})
}
