package cpu

import (
	"io/fs"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
)

// Threads is the number of processors that this process may use: GOMAXPROCS, the
// processors it is bound to, and the share that its container grants, whichever
// is least. (The Go runtime reads the container's share too, but never goes below
// two; a second thread on one processor's share would only be throttled.)
func Threads() int {
	n := min(runtime.GOMAXPROCS(0), runtime.NumCPU())
	if runtime.GOOS == "linux" {
		if quota := cpuQuota(os.DirFS("/")); quota > 0 {
			n = min(n, max(1, int(quota+0.5)))
		}
	}
	return max(1, n)
}

// cpuQuota is the number of processors that the control groups of this process
// grant, the least along the path to the root, or 0 for no limit. root is the
// file system's.
func cpuQuota(root fs.FS) float64 {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := 0.0
	for line := range strings.Lines(string(groups)) {
		// hierarchy:controllers:path; no controllers: version 2.
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		mounts, read := []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"}, quotaV2
		if f[1] != "" {
			if !hasWord(f[1], "cpu") {
				continue
			}
			mounts, read = []string{"sys/fs/cgroup/cpu", "sys/fs/cgroup/" + f[1]}, quotaV1
		}
		for _, mount := range mounts {
			// A container often sees its own group as the root: start at the path, and
			// go up to the mount, so that either view is covered.
			for dir := path.Join("/", f[2]); ; dir = path.Dir(dir) {
				if q := read(root, path.Join(mount, dir)); q > 0 && (least == 0 || q < least) {
					least = q
				}
				if dir == "/" {
					break
				}
			}
		}
	}
	return least
}

func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

// quotaV2 reads "quota period" or "max period".
func quotaV2(root fs.FS, dir string) float64 {
	b, err := fs.ReadFile(root, path.Join(dir, "cpu.max"))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) != 2 {
		return 0
	}
	return ratio(f[0], f[1])
}

// quotaV1 reads the same from two files; −1 is no limit.
func quotaV1(root fs.FS, dir string) float64 {
	quota, err := fs.ReadFile(root, path.Join(dir, "cpu.cfs_quota_us"))
	if err != nil {
		return 0
	}
	period, err := fs.ReadFile(root, path.Join(dir, "cpu.cfs_period_us"))
	if err != nil {
		return 0
	}
	return ratio(strings.TrimSpace(string(quota)), strings.TrimSpace(string(period)))
}

func ratio(quota, period string) float64 {
	q, err := strconv.ParseInt(quota, 10, 64)
	p, err2 := strconv.ParseInt(period, 10, 64)
	if err != nil || err2 != nil || q <= 0 || p <= 0 {
		return 0
	}
	return float64(q) / float64(p)
}
