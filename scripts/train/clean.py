#!/usr/bin/env python3
"""Makes plain texts of what scripts/train/texts has unpacked: RAW OUT.

OUT/train/SOURCE/NAME.txt and OUT/heldout/SOURCE/NAME.txt are one document each. What is held out is whole: a book, a play, a
speech, a psalm's commentary; the books of the Bible that are held out are so in the translation and in the commentary. Prints a
table of sources, and the digest of everything. Needs nothing but Python.
"""

import gzip
import hashlib
import html
import json
import pathlib
import re
import struct
import sys
import zlib

HELD_OUT = {
    "austen": {"northanger-abbey"},
    "go": {"tom-sawyer"},
    "shakespeare": {"macbeth", "tempest", "as-you-like-it"},
}
HELD_BOOKS = {"Ruth", "Amos", "Jonah", "Mark", "Phil", "Esth", "1Sam"}  # of the Bible, by their OSIS names
BROKEN_BOOKS = {"Tob", "EsthGr", "Sir", "4Macc"}  # whose chapters the module has in pieces
HELD_PSALMS = {8, 23, 38, 53, 68, 83, 98, 113, 128, 143}


def tidy(text):
    """Joins what lies between: no blanks at the ends of lines, no more than one empty line, one newline at the end."""
    text = text.replace("\r\n", "\n").replace("\u00a0", " ")
    text = re.sub(r"[\x00-\x08\x0b\x0e-\x1f\u00ad\ufeff\ufffd]", "", text)  # nobody sees them, or they stand for what is lost
    text = re.sub(r"[ \t\f]+\n", "\n", text)
    text = re.sub(r"\n{3,}", "\n\n", text)
    return text.strip() + "\n"


def unwrap(text):
    """Gives prose that was broken at a width its lines back: a paragraph is one line. Indented ones are verse, and stay."""
    paragraphs = []
    for p in tidy(text).split("\n\n"):
        lines = p.rstrip("\n").split("\n")
        if any(line.startswith("  ") for line in lines):
            paragraphs.append("\n".join(lines))
        else:
            paragraphs.append(re.sub(r" {2,}", " ", " ".join(lines)))
    return "\n\n".join(paragraphs) + "\n"


def rdb(path):
    """The character vectors of an R database: zlib blocks behind their lengths, each a serialised vector (XDR)."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        unpack = zlib.decompressobj()
        raw = unpack.decompress(data[at + 4 :])
        at = len(data) - len(unpack.unused_data)
        kind, count = struct.unpack(">II", raw[23:31])  # behind "X\n", versions and the encoding's name, UTF-8
        if raw[:2] != b"X\n" or kind & 0xFF != 16:
            raise ValueError(f"{path}: not a vector of strings")
        lines, pos = [], 31
        for _ in range(count):
            (length,) = struct.unpack(">i", raw[pos + 4 : pos + 8])
            pos += 8
            lines.append(raw[pos : pos + max(length, 0)].decode())
            pos += max(length, 0)
        yield "\n".join(lines)


def sword(folder, letter, entry):
    """The blocks of a SWORD module, with their verses one behind the other: an index of blocks, one of verses, zlib data."""
    for testament in ("ot", "nt"):
        blocks = (folder / f"{testament}.{letter}zs").read_bytes()
        verses = (folder / f"{testament}.{letter}zv").read_bytes()
        data = (folder / f"{testament}.{letter}zz").read_bytes()
        texts = []
        for at in range(0, len(blocks), 12):
            begin, packed, _ = struct.unpack("<III", blocks[at : at + 12])
            texts.append(zlib.decompress(data[begin : begin + packed]))
        parts = [[] for _ in texts]
        for at in range(0, len(verses), entry):
            block, begin = struct.unpack("<II", verses[at : at + 8])
            size = int.from_bytes(verses[at + 8 : at + entry], "little")
            if size and (begin, size) not in parts[block][-1:]:  # verses that share a comment have one entry
                parts[block].append((begin, size))
        for text, spans in zip(texts, parts):
            yield " ".join(text[b : b + n].decode() for b, n in spans)


def osis(text):
    """Plain text of OSIS mark-up: paragraphs, headings and lines are kept, notes are not."""
    text = re.sub(r"<note\b.*?</note>", " ", text, flags=re.S)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"<title\b[^>]*>(.*?)</title>", r"\n\n\1\n\n", text)
    text = re.sub(r'<(?:chapter|div)\b[^>]*sID="[^"]*"[^>]*>|<p\b[^>]*>', "\n\n", text)
    text = re.sub(r"<(?:row|l|lb|item)\b[^>]*>", "\n", text)
    text = re.sub(r"</?cell\b[^>]*>", " ", text)
    text = html.unescape(re.sub(r"<[^>]*>", "", text))
    text = re.sub(r" *\n *", "\n", re.sub(r" {2,}", " ", text))
    return tidy(re.sub(r" ([,.;:?!])(?=\s)", r"\1", text))


def facts(value, name=""):
    """The texts of a country's profile, each behind its name: {"text": …} or names with more of them."""
    for key, inner in value.items():
        if key == "text":
            if inner:
                yield name + ": " + re.sub(r"\s*\+\+\s*", "\n", inner).strip()
        elif isinstance(inner, dict):
            yield from facts(inner, f"{name}, {key}" if name else key)


def books(raw):
    """Yields (source, name, held out, text)."""
    folder = raw / "moby-dick" / "data"
    chapters = [f"chapter_{i}.txt" for i in range(1, 136)] + ["epilogue.txt"]
    yield "moby-dick", "moby-dick", False, tidy("\n\n".join((folder / c).read_text() for c in chapters))

    for path in sorted((raw / "sotu" / "data").glob("*.txt")):
        yield "sotu", path.stem, int(path.stem[:4]) % 12 == 7, tidy(path.read_text())

    profiles = [p for p in sorted((raw / "factbook").glob("*/*.json")) if p.parent.name != "meta"]
    for i, path in enumerate(profiles):
        profile = json.loads(path.read_text())
        sections = [section + "\n\n" + "\n".join(facts(inner)) for section, inner in profile.items()]
        yield "factbook", f"{path.parent.name}-{path.stem}", i % 12 == 5, tidy("\n\n".join(sections))

    plays = raw / "shakespeare" / "shksprdata" / "texts"
    for path in sorted(plays.glob("*_gut.txt")):
        name = path.stem.removesuffix("_gut").replace("_", "-")
        yield "shakespeare", name, name in HELD_OUT["shakespeare"], tidy(path.read_text(encoding="latin-1"))
    milton = raw / "shakespeare" / "miltondata" / "texts"
    yield "milton", "areopagitica", False, unwrap((milton / "areopagitica.txt").read_text())
    for name in ("paradiselost", "paradiseregained"):
        yield "milton", name, False, tidy((milton / f"{name}.txt").read_text())

    data = raw / "austen" / "usr" / "lib" / "R" / "site-library" / "janeaustenr" / "data" / "Rdata.rdb"
    names = ("emma", "mansfield-park", "northanger-abbey", "persuasion", "pride-and-prejudice", "sense-and-sensibility")
    novels = list(rdb(data))
    if len(novels) != len(names):
        raise ValueError(f"{data}: {len(novels)} novels")
    for name, text in zip(names, novels):
        if name.split("-")[0] not in text[:200].lower():
            raise ValueError(f"{data}: {text[:40]!r} is not {name}")
        yield "austen", name, name in HELD_OUT["austen"], unwrap(text)

    modules = {
        "spurgeon": ("comments/zcom/tdavid", "c", 12),
        "henry": ("comments/zcom/mhcc", "b", 10),
        "web": ("texts/ztext/engWEB2015eb", "b", 10),
    }
    for source, (path, letter, entry) in modules.items():
        for text in sword(raw / source / "usr" / "share" / "sword" / "modules" / path, letter, entry):
            place = re.search(r'<(?:div canonical="true"|chapter n="\d+") osisID="(\w+)(?:\.(\d+))?"', text)
            plain = osis(text)
            if place is None or place[1] in BROKEN_BOOKS or len(plain) < 1000:  # the last are headings of a testament
                continue
            book, chapter = place[1], int(place[2] or 0)
            if source != "spurgeon" and place[2]:
                continue
            if source == "spurgeon":
                yield source, f"psalm-{chapter:03}", chapter in HELD_PSALMS, plain
            else:
                yield source, book.lower(), book in HELD_BOOKS, plain

    text = gzip.decompress((raw / "devil" / "usr" / "share" / "dictd" / "devil.dict.dz").read_bytes()).decode("latin-1")
    yield "devil", "devils-dictionary", False, unwrap(text[text.index("_The Devil's Dictionary_ was begun") :])

    text = gzip.decompress((raw / "jargon" / "usr" / "share" / "dictd" / "jargon.dict.dz").read_bytes()).decode()
    text = re.sub(r"[{}]", "", re.sub(r"^    ", "", text[text.index("\n(TM)\n") :], flags=re.M))
    yield "jargon", "jargon-file", False, unwrap(text)

    text = (raw / "go" / "Mark.Twain-Tom.Sawyer.txt").read_text()
    text = text[text.index("MOST of the adventures") : text.index("End of the Project Gutenberg")]
    yield "go", "tom-sawyer", True, unwrap(text)
    text = (raw / "go" / "Isaac.Newton-Opticks.txt").read_text()
    yield "go", "opticks", False, unwrap(text[text.index("SIR ISAAC NEWTON'S ADVERTISEMENTS") :])


def main():
    raw, out = (pathlib.Path(p) for p in sys.argv[1:])
    everything = hashlib.sha256()
    table = {}
    for source, name, held, text in books(raw):
        data = text.encode()
        part = "heldout" if held else "train"
        path = out / part / source / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise ValueError(f"{path} comes twice")
        path.write_bytes(data)
        everything.update(f"{part}/{source}/{name} {len(data)}\n".encode() + data)
        row = table.setdefault(source, {"train": [0, 0], "heldout": [0, 0]})[part]
        row[0] += 1
        row[1] += len(data)
    table["all"] = {part: [sum(r[part][k] for r in table.values()) for k in (0, 1)] for part in ("train", "heldout")}
    for source, r in table.items():
        (a, b), (c, d) = r["train"], r["heldout"]
        print(f"{source:12} train {a:4} documents {b:9} bytes, held out {c:3} documents {d:8} bytes")
    print(f"sha256 {everything.hexdigest()}")


if __name__ == "__main__":
    main()
