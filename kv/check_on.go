//go:build invariants

package kv

// verify proves the invariants after every verb.
func (s *Store) verify() {
	if err := s.check(); err != nil {
		panic("kv: " + err.Error())
	}
}
