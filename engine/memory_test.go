package engine

import (
	"io/fs"
	"testing"
)

type fakeFS map[string]string

func (f fakeFS) ReadFile(name string) ([]byte, error) {
	if s, ok := f[name]; ok {
		return []byte(s), nil
	}
	return nil, fs.ErrNotExist
}

func TestCgroupMemory(t *testing.T) {
	for name, tc := range map[string]struct {
		files fakeFS
		want  int64
		ok    bool
	}{
		"none":    {fakeFS{}, 0, false},
		"no file": {fakeFS{"proc/self/cgroup": "0::/a\n"}, 0, false},
		"v2": {fakeFS{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n", "sys/fs/cgroup/a/b/memory.current": "300\n",
		}, 700, true},
		"v2 cache can be had back": {fakeFS{
			"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/memory.current": "900\n",
			"sys/fs/cgroup/a/memory.stat": "anon 100\ninactive_file 500\n",
		}, 600, true},
		"v2 parent is tighter": {fakeFS{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000", "sys/fs/cgroup/a/b/memory.current": "0",
			"sys/fs/cgroup/a/memory.max": "500", "sys/fs/cgroup/a/memory.current": "100",
		}, 400, true},
		"v2 unlimited": {fakeFS{
			"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/a/memory.current": "900\n",
		}, 0, false},
		"v2 above its limit": {fakeFS{
			"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "100\n", "sys/fs/cgroup/a/memory.current": "900\n",
		}, 0, true},
		"v1": {fakeFS{
			"proc/self/cgroup": "5:cpu,memory:/x\n4:devices:/y\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes":   "2000\n",
			"sys/fs/cgroup/memory/x/memory.usage_in_bytes":   "500\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":     "9223372036854771712\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes":     "500\n",
			"sys/fs/cgroup/memory/devices/y/memory.max":      "1",
			"sys/fs/cgroup/memory/devices/y/memory.current":  "1",
			"sys/fs/cgroup/memory/x/memory.stat":             "total_inactive_file 100\n",
			"sys/fs/cgroup/memory/x/unrelated":               "",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes.x": "",
		}, 1600, true},
		"nonsense": {fakeFS{"proc/self/cgroup": "\x00::\n:::\n0::/../../etc\n", "sys/fs/cgroup/etc/memory.max": "12x"}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := cgroupMemory(tc.files)
			if got != tc.want || ok != tc.ok {
				t.Errorf("got %d, %v, want %d, %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}

func TestAvailableOnThisMachine(t *testing.T) {
	if n := Available(); n < 1<<20 {
		t.Errorf("%d bytes available", n)
	}
}
