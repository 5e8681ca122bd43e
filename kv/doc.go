// Package kv is the tiered block store: virtual memory for keys and values. It
// knows blocks, not attention: which ones are wanted is told to it, what they
// mean is no business of its own.
//
//	        sequence's table   (layer, KV head, block number) → id      a shared prefix: the same ids
//	                                     │
//	     by id:   summary                │             pooled keys and scores; always on the device
//	              ┌──────────────────────▼──────────────────────┐
//	tail ─Seal──▶ │ slots          one pool for everything      │  device   LRU by step, ties by id
//	              └───│ ▲────────────────────────────────────────┘
//	 copied once,     │ │  Recall: misses, in rounds that fit
//	 in background    ▼ │
//	              ┌─────┴───────────────────────────────────────┐
//	              │ host pool      pages of one arena            │  host     LRU by step, ties by id
//	              └───│ ▲────────────────────────────────────────┘
//	 coldest first,   │ │  checked by CRC32C; Prefetch reads ahead
//	 ahead of need    ▼ │
//	              ┌─────┴───────────────────────────────────────┐
//	              │ records        one file, without a name      │  disk
//	              └─────────────────────────────────────────────┘
//
// # The life of a block
//
// A block is Layout.Block tokens of one layer and one KV head.
//
//	born      Reserve   its first token is due: an id, and room in every table
//	full      Seal      its last token is there: encoded into a slot; the bytes never change again
//	written   Seal      copied to a page of the host pool, once, in the background
//	spilled             the host pool fills up: the coldest block gets a record on disk
//	listed              where the disk lasts: all of its column have records, and the ledger an entry
//	evicted             its slot, or its page, goes to another block; nothing is written
//	recalled  Recall    wanted, but in no slot: from its page, or from its record through a page
//	replaced  Drop      its owner rewrites: it leaves the table, and Write puts fewer new blocks there
//	offered   Advance   its column is published under the chain key of all tokens up to its end
//	shared              another sequence begins with the same tokens: one more holder
//	cached    Free      the last holder ends, and with Config.Retain its blocks wait for those to come
//	freed     Free      or, if cached, when their room is needed: slot, page, record and id come back, once
//
// The open block of a sequence is not in a slot. It lies in the sequence's own
// float32 memory (Tail), because a query reads its own block as it was computed
// and a quantised cache rounds a block once, when it is full; so there is nothing
// that a slot could hold before. Summaries are kept by id, on the device, and
// depend on the block's own tokens alone, so that they are shared with it.
//
// No tier changes the bytes it is given, and what a slot holds does not depend on
// how it came there. Therefore budgets change how long an answer takes and
// nothing else.
//
// # Who does what
//
// One goroutine, the owner, calls all methods of a store, its sequences and its
// recalls. It alone reads and writes the maps, so there are no locks around them.
// The workers of the mover only carry bytes between two places that the owner
// has pinned for them (slot → page, page → slot, page → record, record → page),
// and report; the owner takes reports at every verb, and stands still for one
// only where it needs it. Everything that waits takes a context.
//
// Where the system reads a file without a thread for each read (vfs.Reads: direct
// transfers on Linux), the owner begins reads and takes them in itself, and looks
// out for them while it stands still. Workers read otherwise.
//
// Where slots lie in the host's memory a copy takes less time than to hand it to
// somebody. There the owner, when it would stand still, makes the copies itself
// that wait for a worker; and before it evicts it finishes those on their way
// down, so that which block goes depends on what was wanted and not on how fast
// copies are: hits and misses are the same in every run. A device with memory of
// its own is never waited for that way. It must order CopySlot after the Seal of
// the same slot, and what reads a slot after its FillSlot.
//
// A place is pinned until the transfer that uses it has reported, come what may.
// A transfer that hangs fails the request that waits for it, after
// Config.Timeout; its places stay out of use until it reports, so memory under a
// late write is never another block's. A block whose last holder has gone while
// it was being moved is given back by the report.
//
// # Seats
//
// A device may run whole decode steps by itself (compute.Step), without a word from the
// host. Such a sequence sits: its blocks' pages stay where they are, the device has been
// told them and the columns, and what it keeps in slots is its own affair. The slots are
// divided once and for all: the store's are for prompts and for sequences that do not sit.
// A block that a step fills is in its page at once, and the store learns of it after the
// step:
//
//	full      Stepped   its last token is there: encoded by the device into its page
//
// Where there is no host pool, a block's slot is its id, and both have it there. See seats.
//
// # Room
//
// Reserve is where admission happens: it promises an id for every block and a
// home (page or record) for every block that will be full, or returns ErrFull and
// changes nothing. So Seal and Recall never find that there is no place at all;
// they may have to wait for one, or find that the disk refuses a write. A sequence
// that is opened with a Promise has been admitted as a whole: its Reserves never fail
// for want of room, and those of others leave it alone.
//
// With a disk below, the coldest pages are written to records before their room
// is needed, until a quarter of the pool can be given away at once. A page whose
// block has a record is dropped without writing; the record stays valid until the
// block is freed.
//
// A page and a record are as long as a block. Where that is nearly a multiple of
// 4096 bytes they are rounded up to it, so that the disk can be read and written
// past the page cache; where more than 7 % would be lost (quantised blocks), the
// file is buffered, and its pages are put out of the cache after each transfer.
//
// # Over restarts
//
// With Disk.Lasts the file of records has a name, every full block is written to it,
// and beside it lies a ledger: for each column whose blocks all have records its key,
// and per block the record, checksum, digest and summary. An entry is written after
// the records and erased before one of them goes to another block, so that however a
// process ends, what the ledger says is true; after the machine itself was down all
// that it says is read and checked before it is believed. Open takes the columns over
// as cached ones. Their keys begin with Config.Identity, so that another model or
// setting finds none of them; and the bytes of a record that another process wrote
// are held against a SHA-256 when they are first read.
//
// # Errors
//
// An error names sequence, layer, head and block, wraps one of the package's
// errors, and belongs to the request whose call returned it. A block that can not
// be read, or whose bytes are not those that were written, is not offered to
// others any more.
//
// Checksums are kept with the reader, or in the ledger, not in the record: a record in
// the wrong place can not vouch for itself.
package kv
