package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

const maxBackoff = 8 * time.Second

// retry repeats try while its error may pass, with a growing pause between tries. A try that moved things on starts
// the count anew, so that a long transfer survives many short breaks. A wrong answer is asked for once more only.
func (c *Client) retry(ctx context.Context, what string, try func() (moved bool, err error)) error {
	failed, lied := 0, 0
	for {
		moved, err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var t *transient
		var s *suspect
		switch {
		case errors.As(err, &t):
			if moved {
				failed = 0
			}
			if failed++; failed > c.cfg.Retries {
				return fmt.Errorf("%s: gave up after %d tries: %w", what, failed, err)
			}
		case errors.As(err, &s):
			if lied++; lied > 1 || c.cfg.Retries == 0 {
				return fmt.Errorf("%s: %w", what, err)
			}
		default:
			return fmt.Errorf("%s: %w", what, err)
		}
		pause := c.pause(max(failed, 1))
		if t != nil && t.wait > 0 {
			pause = t.wait
		}
		c.log.LogAttrs(ctx, slog.LevelWarn, "trying again", slog.String("what", what), slog.Duration("in", pause), slog.String("error", err.Error()))
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// pause doubles from try to try. Jitter of a half keeps clients that failed together from coming back together.
func (c *Client) pause(failed int) time.Duration {
	d := min(c.backoff<<min(failed-1, 10), maxBackoff)
	return d/2 + rand.N(d/2+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
