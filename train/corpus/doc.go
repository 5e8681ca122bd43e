// Package corpus turns texts into token ids once, and serves them to training, batch by batch, in an order that a seed
// fixes. It trains nothing and knows no model: a batch is ids, targets, and where documents begin.
//
//	files ─ documents in pieces ─ ids, by several threads ─ shards ─ mapped ─ sampler ─ batches
//	input.go text.go jsonl.go     build.go                  shardwrite.go   window.go  sampler.go
//	         parquet.go                                     shard.go        needle.go  mix.go
//
// Build writes a folder, a set: shards and the manifest corpus.json, which comes last; until then the folder has another
// name, and what is in it is taken up again after an interrupt. The same input gives the same bytes, whatever the number of
// threads. Prepare builds what is not there yet.
//
// # Shards
//
// Numbers are little-endian; a CRC is CRC32C.
//
//	byte 0    magic "NOSATOKS"
//	8         uint32 version, 1
//	12        uint32 width: bytes of an id, 2 or 4
//	16        uint32 vocabulary: ids lie below it
//	20        uint32 zero
//	24        uint64 documents, at least 1
//	32        uint64 tokens
//	40        [32]byte digest of the vocabulary (tokenizer.json, and the ids that begin and end a document)
//	72        uint32 CRC of the documents' ends
//	76        uint32 CRC of the table of chunks
//	80        zeros
//	124       uint32 CRC of bytes 0 to 123
//	128       ids, then zeros up to a multiple of 8
//	          uint64 for each document: the token behind its last, ascending; the last is the number of tokens
//	          uint32 for each MiB of ids: its CRC
//
// The header, the ends and the table are checked when a shard is opened; a chunk of ids when it is read first, together
// with their range. So opening takes no time whatever the size, and no id that was not checked gets into a batch.
package corpus
