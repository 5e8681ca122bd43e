package train

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// What is written for TensorBoard is what the log says, in whole records.
func TestEvents(t *testing.T) {
	out := t.TempDir()
	mustDo(t, jobOf(t, "tensorboard = true\n"+runConfig(out, "[loss]\nimportance = 0.3")))
	paths, err := filepath.Glob(filepath.Join(out, eventsFolder, "events.out.tfevents.*"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("%v, %v", paths, err)
	}
	data, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	losses, lessons := map[uint64]float32{}, map[uint64]float32{}
	evals := 0
	for first := true; len(data) > 0; first = false {
		n := binary.LittleEndian.Uint64(data)
		if binary.LittleEndian.Uint32(data[8:]) != masked(data[:8]) || binary.LittleEndian.Uint32(data[12+n:]) != masked(data[12:12+n]) {
			t.Fatal("a checksum is wrong")
		}
		step, tags := readEvent(t, data[12:12+n])
		data = data[16+n:]
		if first {
			continue // the version
		}
		if v, ok := tags["loss"]; ok {
			losses[step], lessons[step] = v, tags["importance loss"]
		}
		for tag := range tags {
			if strings.HasPrefix(tag, "held-out") {
				evals++
			}
		}
	}
	for _, r := range records(t, out) {
		if step := uint64(r.Step); r.Eval == nil && (losses[step] != float32(r.Loss) || lessons[step] != float32(*r.Importance) || *r.Far <= 0) {
			t.Errorf("step %d: losses %v and %v, want %v and %v", r.Step, losses[step], lessons[step], r.Loss, *r.Importance)
		}
	}
	if len(losses) != 12 || evals != 6 { // the loss of held-out data, and at positions below 64
		t.Errorf("%d losses and %d of held-out data", len(losses), evals)
	}
}

// readEvent reads the step and the values of an event.
func readEvent(t *testing.T, b []byte) (step uint64, tags map[string]float32) {
	t.Helper()
	tags = map[string]float32{}
	fields(t, b, func(n protowire.Number, num uint64, msg []byte) {
		switch n {
		case eventStep:
			step = num
		case eventSummary:
			fields(t, msg, func(_ protowire.Number, _ uint64, value []byte) {
				tag, v := "", float32(0)
				fields(t, value, func(n protowire.Number, num uint64, msg []byte) {
					if n == valueTag {
						tag = string(msg)
					} else {
						v = math.Float32frombits(uint32(num))
					}
				})
				tags[tag] = v
			})
		}
	})
	return step, tags
}

func fields(t *testing.T, b []byte, f func(n protowire.Number, num uint64, msg []byte)) {
	t.Helper()
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			t.Fatal("no field")
		}
		b = b[size:]
		var num uint64
		var msg []byte
		switch kind {
		case protowire.VarintType:
			num, size = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			v, s := protowire.ConsumeFixed32(b)
			num, size = uint64(v), s
		case protowire.Fixed64Type:
			num, size = protowire.ConsumeFixed64(b)
		default:
			msg, size = protowire.ConsumeBytes(b)
		}
		if size < 0 {
			t.Fatal("half a field")
		}
		f(n, num, msg)
		b = b[size:]
	}
}
