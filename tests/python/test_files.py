"""Tests of examples/python/minidb.py with files. Run as test_minidb.py is."""

import gc
import os
import tempfile
import unittest
from pathlib import Path

from test_minidb import minidb


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / "app.minidb"

    def database(self, **flags):
        db = minidb.Database(self.path, **flags)
        self.addCleanup(db.close)
        return db

    def names(self):
        return sorted(os.listdir(self.folder))

    def test_what_was_written_is_found_again_by_any_kind_of_path(self):
        entries = {b"": b"", b"k": b"\0" * 5000, b"long" * 1000: b"v"}
        with self.database(new=True) as db:
            db.write(entries)
            commits = db.stat()["commits"]
            self.assertEqual(self.names(), ["app.minidb", "app.minidb-log"])
        self.assertEqual(self.names(), ["app.minidb"])
        for path in (self.path, str(self.path), os.fsencode(self.path)):
            with minidb.Database(path, nosync=True) as db:
                self.assertEqual(db, entries)
                self.assertEqual(db.stat()["commits"], commits)

    def test_a_path_may_have_any_characters(self):
        for name in ("\u00e4\u20ac \U0001f5c4.minidb", os.fsdecode(b"\xff.minidb")):
            path = self.folder / name
            minidb.Database(path)[b"k"] = b"v"
            gc.collect()
            with minidb.Database(path, readonly=True) as db:
                self.assertEqual(db, {b"k": b"v"})

    def test_flags_say_what_may_happen(self):
        for flags in ({"existing": True}, {"readonly": True}):
            with self.assertRaises(minidb.NotFoundError) as caught:
                self.database(**flags)
            self.assertIsInstance(caught.exception, FileNotFoundError)
            self.assertIn(str(self.path), str(caught.exception))
        self.database(new=True).close()
        with self.assertRaises(minidb.ConflictError) as caught:
            self.database(new=True)
        self.assertIsInstance(caught.exception, FileExistsError)
        for flags in ({"existing": True}, {"readonly": True}):
            with self.assertRaises(minidb.InvalidError):
                self.database(new=True, **flags)

    def test_read_only_refuses_every_write(self):
        with self.database() as db:
            db[b"k"] = b"v"
        before = self.path.read_bytes()
        db, other = self.database(readonly=True), self.database(readonly=True)
        for call in (
            lambda: db.put(b"k", b"w"), lambda: db.pop(b"k"), db.clear, db.checkpoint,
            lambda: db.cas(b"k", b"v", None), lambda: db.write({}), db.popitem,
        ):
            with self.assertRaises(minidb.ReadOnlyError):
                call()
        db.check()
        self.assertEqual((db, other), ({b"k": b"v"}, {b"k": b"v"}))
        self.assertEqual(db.stat()["file_bytes"], len(before))
        db.close()
        other.close()
        self.assertEqual(self.path.read_bytes(), before)

    def test_the_file_is_locked_until_the_last_view_and_iterator_is_closed(self):
        db = self.database()
        db.write({b"a": b"1", b"b": b"2"})
        snapshot, walk = db.snapshot(), db.range()
        db.close()
        with self.assertRaises(minidb.BusyError):
            self.database()
        self.assertEqual(list(snapshot), [b"a", b"b"])
        snapshot.close()
        with self.assertRaises(minidb.BusyError):
            self.database(readonly=True)
        self.assertEqual(len(list(walk)), 2)
        del walk
        gc.collect()
        self.database().close()

    def test_sync_and_checkpoint_leave_the_entries_as_they_are(self):
        for nosync in (False, True):
            with self.database(nosync=nosync) as db:
                db[b"k"] = b"%d" % nosync
                db.sync()
                db.checkpoint()
                db.check()
                self.assertEqual(db, {b"k": b"%d" % nosync})

    def test_any_view_is_backed_up_and_none_over_a_file(self):
        db = self.database()
        db[b"k"] = b"old"
        snapshot = db.snapshot()
        db[b"k"] = b"new"
        with minidb.Database() as in_memory:
            in_memory[b"k"] = b"memory"
            in_memory.backup(self.folder / "memory")
        db.backup(self.folder / "new")
        snapshot.backup(self.folder / "old")
        for name in ("memory", "new", "old"):
            with self.assertRaises(minidb.ConflictError):
                db.backup(self.folder / name)
            with minidb.Database(self.folder / name) as copy:
                self.assertEqual(copy, {b"k": name.encode()})
        with self.assertRaises(minidb.StorageError) as caught:
            db.backup(self.folder / "no" / "copy")
        self.assertIsInstance(caught.exception, OSError)
        with self.assertRaises(ValueError):
            db.backup("a\0b")

    def test_damage_and_foreign_files_are_told_apart(self):
        with self.database() as db:
            db.write({b"%d" % n: b"value" * n for n in range(100)})
        sound = self.path.read_bytes()
        at = sound.rindex(b"value")
        self.path.write_bytes(sound[:at] + b"V" + sound[at + 1:])
        with self.assertRaisesRegex(minidb.CorruptError, str(self.path)):
            self.database()
        self.path.write_bytes(b"no database")
        with self.assertRaises(minidb.FormatError):
            self.database()
        self.path.write_bytes(sound)
        db = self.database()
        with open(self.path, "r+b") as file:
            file.seek(at)
            file.write(b"V")
        with self.assertRaises(minidb.CorruptError):
            db.check()
        self.assertEqual(len(db), 100)

    def test_a_damaged_file_is_salvaged(self):
        with self.database() as db:
            db.write({b"%d" % n: b"value" * n for n in range(100)})
        whole = minidb.salvage(self.path, self.folder / "whole")
        self.assertEqual(next(iter(whole.items())), ("entries", 100))
        self.assertEqual(set(list(whole.values())[1:]), {0})
        damaged = bytearray(self.path.read_bytes())
        damaged[damaged.rindex(b"value")] ^= 1
        self.path.write_bytes(damaged)
        report = minidb.salvage(os.fsencode(self.path), str(self.folder / "rest"))
        self.assertGreater(report["lost"], 0)
        with minidb.Database(self.folder / "rest", existing=True) as db:
            self.assertEqual(len(db), report["entries"])
        with self.assertRaises(minidb.ConflictError):
            minidb.salvage(self.path, self.folder / "rest")
        with self.assertRaises(minidb.NotFoundError):
            minidb.salvage(self.folder / "nothing", self.folder / "new")
        with self.assertRaises(minidb.InvalidError):
            minidb.salvage(self.path, ":memory:")


if __name__ == "__main__":
    unittest.main()
