package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// spareBytes stay free on the disk after a pull: the record, and what else lives there.
const spareBytes = 16 << 20

// freeBytes is what an ordinary user may still write on the disk of dir.
func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil // types differ between systems
}

// room refuses a pull of need more bytes that the disk can not take.
func (c *Client) room(need int64) error {
	free, err := c.free(c.cfg.Dir)
	if err != nil {
		return fmt.Errorf("ask for the free space: %w", err)
	}
	if need > 0 && uint64(need)+spareBytes > free {
		return fmt.Errorf("%s more are needed, %s are free in %s: free some, or set NOSA_HOME to a larger disk: %w", sizeText(need), sizeText(int64(min(free, 1<<62))), c.cfg.Dir, ErrSpace)
	}
	return nil
}

// diskError names the reason when a write failed for want of space.
func (c *Client) diskError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: free some space in %s, then pull again: it goes on where it stopped: %w", err, c.cfg.Dir, ErrSpace)
	}
	return err
}

// lock waits until no other pull works on the model of root. The lock is the kernel's: it ends with its process, so
// none is ever left behind, and the file itself stays.
func (c *Client) lock(ctx context.Context, root *os.Root, model string) (unlock func(), err error) {
	f, err := root.OpenFile("lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	const poll = 200 * time.Millisecond
	for first := true; ; first = false {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // closing unlocks
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", filepath.Join(c.cfg.Dir, "models", model, "lock"), err)
		}
		if first {
			c.log.LogAttrs(ctx, slog.LevelInfo, "waiting for another pull of the same model", slog.String("model", model))
		}
		if err := sleep(ctx, poll); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
}

// sizeText is a size for people, with one decimal in binary units.
func sizeText(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/(1<<10), 0
	for v >= 1023.95 && unit < 4 {
		v, unit = v/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[unit])
}
