"""Plays of Shakespeare's contemporaries as one text in the form of tiny Shakespeare, to start a language model from.

    python benchmarks/plays_text.py FOLDER TINY_SHAKESPEARE OUT [--characters N]

FOLDER has the TEI files of the corpus Shakespeare His Contemporaries (EarlyPrint, CC BY-NC), such as
`dat/drama_corpus_xml` of github.com/knielbo/LINK. Plays of 1587 to 1614 are taken in an order of their own until there
are N characters, in standard spelling and with the characters of TINY_SHAKESPEARE. Left out are plays in whose headers
Shakespeare is named, adaptations and sources of his plays, and plays that share more than three sequences of nine words
with its last tenth.
"""

import argparse
import random
import re
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

TEI = "{http://www.tei-c.org/ns/1.0}"
SHAKESPEARE = re.compile(r"shakesp|shakspe|shaksp|taming|shrew|contention|true tragedy of richard", re.IGNORECASE)


def spell(word: ET.Element) -> str:
    """A word in its standard spelling, but with 'd for a silent -ed, as in tiny Shakespeare."""
    text = "".join(word.itertext()).strip()
    standard = word.get("reg") or text
    if text.endswith("'d") and standard.endswith("ed"):
        standard = standard[:-2] + "'d"
    if text[:1].isupper():
        standard = re.sub(r"[A-Za-z]", lambda letter: letter[0].upper(), standard, count=1)
    return standard


def read_line(element: ET.Element) -> str:
    """The words and the punctuation of an element."""
    line, joins = "", True
    for part in element.iter():
        if part.tag == TEI + "w":
            line += ("" if joins or part.get("join") == "left" else " ") + spell(part)
            joins = part.get("join") in ("right", "both")
        elif part.tag == TEI + "pc":
            mark = "".join(part.itertext()).strip()
            line, joins = (line + " (", True) if mark == "(" else (line + mark, joins)
    return re.sub(r"\s+", " ", line).strip()


def read_speeches(play: ET.Element) -> Iterator[str]:
    """The speeches: the speaker with a colon, then lines of verse, or prose in lines of 72 characters."""
    for speech in play.iter(TEI + "sp"):
        who = re.sub(r"[_-]+", " ", (speech.get("who") or "").split(" ")[0].partition("-")[2]).upper()
        parts = [part for part in speech.iter() if part.tag in (TEI + "l", TEI + "p")]
        lines = [
            line if part.tag == TEI + "l" else textwrap.fill(line, 72) for part in parts if (line := read_line(part))
        ]
        if who and lines:
            yield f"{who}:\n" + "\n".join(lines) + "\n"


def find_sequences(text: str, length: int = 9) -> set[str]:
    """The sequences of words of a text."""
    words = re.sub(r"[^a-z ]", "", text.lower().replace("\n", " ")).split()
    return {" ".join(words[i : i + length]) for i in range(len(words) - length + 1)}


def main() -> None:
    """Read, select and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tiny_shakespeare", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--characters", type=int, default=8_600_000)
    options = parser.parse_args()
    tiny = options.tiny_shakespeare.read_text()
    measured, characters = find_sequences(tiny[len(tiny) * 9 // 10 :]), set(tiny)
    files = sorted(options.folder.glob("*.xml"))
    random.Random(0).shuffle(files)
    plays: list[str] = []
    for file in files:
        content = file.read_text(encoding="utf-8")
        header = content[: content.index("</teiHeader>")]
        year = re.search(r"creationYear>(\d+)<", header)
        if not year or not 1587 <= int(year[1]) <= 1614 or SHAKESPEARE.search(header):
            continue
        text = "\n".join(read_speeches(ET.fromstring(content)))
        text = re.sub(r"\bOH\b", "O", text).replace("—", "--").replace("’", "'").replace("&", "and")
        text = "".join(character for character in text if character in characters)
        if len(text) < 30_000 or len(find_sequences(text) & measured) > 3:
            continue
        plays.append(text)
        if sum(map(len, plays)) > options.characters:
            break
    options.out.write_text("\n\n".join(plays))
    print(f"{len(plays)} plays, {sum(map(len, plays)):,} characters")


if __name__ == "__main__":
    main()
