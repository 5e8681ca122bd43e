package engine

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"nosa/compute"
)

// TestServiceRestarts: what a service leaves on disk serves the next one with the same
// bits, whatever its budgets and threads are; and none with another method, format or
// other numbers.
func TestServiceRestarts(t *testing.T) {
	const length = 200
	small := budget{device: 0.05, host: 0.1, disk: true, chunk: 80, threads: 2}
	for _, method := range []string{"full", "infllmv2", "nosa"} {
		t.Run(method, func(t *testing.T) {
			dir := t.TempDir()
			var orders []Order
			var want []outcome
			t.Run("alone", func(t *testing.T) {
				e, s := serve(t, method, 1, length, budget{chunk: 64, threads: 1}, ServiceOptions{}, func(o *Options) { o.Retain = false })
				rnd := rand.New(rand.NewPCG(21, 22))
				for range *manyOrders {
					o := randomOrder(rnd, e.model.Vocab, length)
					orders, want = append(orders, o), append(want, answer(t, s, o))
				}
			})
			life := func(name, method string, b budget, change func(*Options), compare bool) (shared int) {
				t.Run(name, func(t *testing.T) {
					e, s := serve(t, method, 4, length, b, ServiceOptions{}, func(o *Options) {
						o.DiskDir, o.DiskLast = dir, true
						if change != nil {
							change(o)
						}
					})
					st, err := s.Look(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					shared = st.Store.Published
					for i, o := range orders {
						if !compare {
							break
						}
						if got := answer(t, s, o); !reflect.DeepEqual(got, want[i]) {
							t.Errorf("request %d: %+v, before %+v", i, got, want[i])
						}
					}
					s.Close()
					if st := e.store.Stats(); compare && shared > 0 && st.Total.DiskHits+st.Total.HostHits == 0 {
						t.Errorf("nothing was read: %+v", st.Total)
					}
				})
				return shared
			}
			if n := life("first", method, small, nil, true); n != 0 {
				t.Errorf("%d columns in a new folder", n)
			}
			for i, b := range []budget{small, {chunk: 33, threads: 1}, small} {
				if n := life(fmt.Sprintf("again %d", i), method, b, nil, true); n == 0 {
					t.Error("nothing was found")
				}
			}
			other := map[string]string{"full": "infllmv2", "infllmv2": "nosa", "nosa": "full"}
			if n := life("another method", other[method], small, nil, false); n != 0 {
				t.Errorf("%d columns of another method", n)
			}
			if n := life("another format", method, small, func(o *Options) { o.KVType = compute.KVQ8 }, false); n != 0 {
				t.Errorf("%d columns of another format", n)
			}
		})
	}
}

// TestIdentity: what outlasts the process says which weights, numbers and program it
// depends on, and not where the files lie.
func TestIdentity(t *testing.T) {
	identity := func(change func(*Options)) string {
		e := streamEngine(t, "full", 1, 200, budget{chunk: 64}, change)
		b, err := e.identity(e.Config)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	scratch, lasting := identity(nil), identity(func(o *Options) { o.DiskDir, o.DiskLast = t.TempDir(), true })
	if !strings.Contains(lasting, "cpu "+runtime.GOARCH) {
		t.Errorf("the device's numbers are not in %q", lasting)
	}
	if scratch == lasting || lasting != identity(func(o *Options) { o.DiskDir, o.DiskLast = t.TempDir(), true }) {
		t.Errorf("%q, %q", scratch, lasting)
	}
}
