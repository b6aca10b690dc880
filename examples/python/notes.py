"""A notebook with tags, in an ordered store.

    b"last"                -> the latest number
    b"note", number        -> the text
    b"tag", tag, 0, number -> nothing: the key says it all

Numbers are big-endian, so that the order of the keys is that of the numbers.
"""

import tempfile
from pathlib import Path
from typing import Iterator, Set

import minidb


class Notebook:
    def __init__(self, db: minidb.Database) -> None:
        self.db = db

    def add(self, text: str) -> int:
        """Stores a note and its #tags together, or not at all."""
        number = self._next_number()
        entries = {b"note" + number: text.encode()}
        entries.update((tag + number, b"") for tag in tags(text))
        self.db.write(entries)
        return int.from_bytes(number, "big")

    def remove(self, number: int) -> str:
        """Returns what was removed; KeyError if there is no such note."""
        key = number.to_bytes(4, "big")
        text = self.db.pop(b"note" + key).decode()
        for tag in tags(text):
            del self.db[tag + key]
        return text

    def tagged(self, tag: str) -> Iterator[str]:
        for key, _ in self.db.prefix(tag_key(tag)):
            yield self.db[b"note" + key[-4:]].decode()

    def latest(self) -> Iterator[str]:
        return (text.decode() for _, text in self.db.prefix(b"note", reverse=True))

    def _next_number(self) -> bytes:
        """Draws a number that nobody else draws, whoever writes meanwhile."""
        while True:
            last = self.db.get(b"last")
            number = (int.from_bytes(last or b"", "big") + 1).to_bytes(4, "big")
            if self.db.cas(b"last", last, number):
                return number


def tag_key(tag: str) -> bytes:
    return b"tag" + tag.encode() + b"\0"


def tags(text: str) -> Set[bytes]:
    return {tag_key(word[1:]) for word in text.split() if word.startswith("#")}


def save(view: minidb.View, path: Path) -> None:
    """Saves what a view holds, and goes on in the file."""
    view.backup(path)
    with minidb.Database(path, existing=True) as db:
        print("added to the file", Notebook(db).add("Paint the fence #home"))
    with minidb.Database(path, readonly=True) as db:
        print("in the file:", *Notebook(db).tagged("home"), sep="\n  ")


def main() -> None:
    with minidb.Database() as db:  # in memory
        notes = Notebook(db)
        for text in (
            "Water the plants #home",
            "Read about B+trees #books #work",
            "Fix the kitchen lamp #home",
            "Return the library's copy #books",
        ):
            print("added", notes.add(text))

        print("home:", *notes.tagged("home"), sep="\n  ")
        before = db.snapshot()
        print("done:", notes.remove(1))
        print("home:", *notes.tagged("home"), sep="\n  ")
        print("latest:", next(notes.latest()))
        print("keys:", len(db), "now,", len(before), "before")

        try:
            notes.remove(1)
        except KeyError as missing:
            print("no key", missing)
        with tempfile.TemporaryDirectory() as folder:
            save(before, Path(folder, "notes.minidb"))
    try:
        notes.add("Too late")
    except minidb.Error as error:
        print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
