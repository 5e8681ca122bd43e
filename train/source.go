package train

// Source is where rows come from: drawer corpus has one, tests have others. It is used by one
// goroutine.
type Source interface {
	// Next gives the next n rows: documents of at most context tokens, which fill them. What it
	// returns holds until the next call.
	Next(n, context int) (Rows, error)
	// State is the place behind the rows that Next gave last, and Restore goes there: what follows
	// is what would have followed.
	State() ([]byte, error)
	Restore(state []byte) error
}
