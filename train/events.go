package train

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// events writes what the log says for TensorBoard: a file of records, each an Event of TensorFlow's event.proto. A
// process has a file of its own; where a run goes on, a session's start tells TensorBoard to forget later steps.
//
//	record  uint64 length, uint32 masked CRC32C of it, the event, uint32 masked CRC32C of that; little-endian
type events struct{ file *os.File }

const eventsFolder = "tensorboard"

// Fields of Event, of its Summary and SessionLog, and of a Summary's Value.
const (
	eventTime, eventStep, eventVersion, eventSummary, eventSession = 1, 2, 3, 5, 7

	summaryValue, valueTag, valueSimple = 1, 1, 2
	sessionStatus, sessionStart         = 1, 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openEvents begins a file for a run that goes on behind a step.
func openEvents(out string, step int, now time.Time) (*events, error) {
	dir := filepath.Join(out, eventsFolder)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("events.out.tfevents.%d.nosa", now.UnixNano())), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	e := &events{f}
	version := protowire.AppendString(protowire.AppendTag(nil, eventVersion, protowire.BytesType), "brain.Event:2")
	err = e.event(now, 0, version)
	if err == nil && step > 0 {
		start := protowire.AppendVarint(protowire.AppendTag(nil, sessionStatus, protowire.VarintType), sessionStart)
		err = e.event(now, step+1, protowire.AppendBytes(protowire.AppendTag(nil, eventSession, protowire.BytesType), start))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return e, nil
}

// write adds a line of the log.
func (e *events) write(r Record, now time.Time) error {
	values := map[string]float64{"loss": r.Loss, "learning rate": r.Rate, "gradient norm": r.Norm, "tokens per second": r.Speed, "memory": float64(r.Memory)}
	order := []string{"loss", "learning rate", "gradient norm", "tokens per second", "memory"}
	if r.Importance != nil {
		values["importance loss"], values["far attention"] = *r.Importance, *r.Far
		order = append(order, "importance loss", "far attention")
	}
	if r.Eval != nil {
		values, order = map[string]float64{"held-out loss": *r.Eval}, []string{"held-out loss"}
		for _, p := range r.ByPosition {
			name := fmt.Sprintf("held-out loss by position/%d", p.Begin)
			values[name], order = p.Loss, append(order, name)
		}
	}
	var summary []byte
	for _, name := range order {
		v := protowire.AppendString(protowire.AppendTag(nil, valueTag, protowire.BytesType), name)
		v = protowire.AppendFixed32(protowire.AppendTag(v, valueSimple, protowire.Fixed32Type), math.Float32bits(float32(values[name])))
		summary = protowire.AppendBytes(protowire.AppendTag(summary, summaryValue, protowire.BytesType), v)
	}
	return e.event(now, r.Step, protowire.AppendBytes(protowire.AppendTag(nil, eventSummary, protowire.BytesType), summary))
}

// event writes a record with what is said.
func (e *events) event(now time.Time, step int, what []byte) error {
	b := protowire.AppendFixed64(protowire.AppendTag(nil, eventTime, protowire.Fixed64Type), math.Float64bits(float64(now.UnixNano())/1e9))
	b = protowire.AppendVarint(protowire.AppendTag(b, eventStep, protowire.VarintType), uint64(step))
	b = append(b, what...)
	record := binary.LittleEndian.AppendUint64(nil, uint64(len(b)))
	record = binary.LittleEndian.AppendUint32(record, masked(record))
	record = append(record, b...)
	record = binary.LittleEndian.AppendUint32(record, masked(b))
	if _, err := e.file.Write(record); err != nil {
		return fmt.Errorf("train: %s: %w", e.file.Name(), err)
	}
	return nil
}

// masked is TensorFlow's CRC: turned, so that the CRC of data with a CRC inside is none that is easily wrong.
func masked(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

func (e *events) close() error { return e.file.Close() }
