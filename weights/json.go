package weights

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonError marks errors of the decoder as what they are: a file that is not the JSON it should be. Errors of this
// package pass unchanged.
func jsonError(err error) error {
	var syntax *jsontext.SyntacticError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrFormat) || errors.Is(err, ErrTooLarge):
		return err
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("JSON ends early: %w (%w)", ErrTruncated, ErrFormat)
	case errors.As(err, &syntax):
		return fmt.Errorf("%w: %w", err, ErrFormat)
	}
	return err
}
