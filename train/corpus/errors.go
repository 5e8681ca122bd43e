package corpus

import "errors"

var (
	// ErrCorrupt is returned for a shard or a manifest that is not what Build wrote.
	ErrCorrupt = errors.New("corpus is corrupt")
	// ErrVocabulary is returned where a set was built with another vocabulary than the one it is opened for.
	ErrVocabulary = errors.New("another vocabulary")
	// ErrText is returned for an input that is no text: empty, binary, not UTF-8, or with a line beyond the limit.
	ErrText = errors.New("not a text that can be read")
	// ErrBusy is returned by Build while another process builds the same set.
	ErrBusy = errors.New("is being built by another process")
	// ErrState is returned by Restore for a position in other sources, or of another order.
	ErrState = errors.New("position does not fit")
	// ErrConfig is returned for settings that contradict each other or the data.
	ErrConfig = errors.New("impossible setting")
)
