"""Tests of examples/python/minidb.py. Run with MINIDB_LIBRARY set:

    python3 -m unittest tests/python/test_minidb.py

MINIDB_SEED repeats a random test of an earlier run, which printed it.
"""

import array
import collections.abc
import doctest
import gc
import itertools
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "examples" / "python" / "minidb.py"
sys.path.insert(0, str(MODULE.parent))

import minidb  # noqa: E402 (it is found only now)

LIBRARY = minidb._lib._name


def load_tests(_loader, tests, _pattern):
    tests.addTests(doctest.DocTestSuite(minidb))
    return tests


class Case(unittest.TestCase):
    def setUp(self):
        self.db = minidb.Database()
        self.addCleanup(self.db.close)

    def fill(self, *keys):
        self.db.write((key, key.upper()) for key in keys)

    def random(self):
        seed = int(os.environ.get("MINIDB_SEED", random.randrange(1 << 32)))
        print(f"MINIDB_SEED={seed}", file=sys.stderr)
        return random.Random(seed)

    def handles(self, view=None):
        gc.collect()
        return (self.db if view is None else view).stat()["handles"]


def outcome(call, mapping):
    try:
        return call(mapping)
    except KeyError as error:
        return "KeyError", error.args


class AsADict(Case):
    def test_views_are_mappings_and_only_databases_are_mutable(self):
        self.assertIsInstance(self.db, collections.abc.MutableMapping)
        self.assertIsInstance(self.db.snapshot(), collections.abc.Mapping)
        self.assertNotIsInstance(self.db.snapshot(), collections.abc.MutableMapping)

    def test_random_operations_do_what_they_do_to_a_dict(self):
        rng = self.random()
        model = {}
        for _ in range(5000):
            k, other, v = (bytes(rng.choices(b"ab\0\xff", k=rng.randrange(4))) for _ in range(3))
            call = rng.choice([
                lambda m: m.__setitem__(k, v),
                lambda m: m.__delitem__(k),
                lambda m: m[k],
                lambda m: m.get(k),
                lambda m: m.get(k, v),
                lambda m: m.pop(k),
                lambda m: m.pop(k, None),
                lambda m: m.setdefault(k, v),
                lambda m: m.update({k: v, other: v}),
                lambda m: (k in m, k in m.keys(), v in m.values(), (k, v) in m.items()),
                lambda m: (len(m), len(m.items()), bool(m)),
                lambda m: (sorted(m), sorted(m.keys()), sorted(m.values()), sorted(m.items())),
            ])
            self.assertEqual(outcome(call, self.db), outcome(call, model))
            if rng.random() < 0.005:
                self.db.clear()
                model.clear()
            self.assertEqual(self.db.snapshot(), model)

    def test_iteration_is_in_the_order_of_the_bytes(self):
        self.fill(b"b", b"", b"a\xff", b"a", b"a\0")
        keys = [b"", b"a", b"a\0", b"a\xff", b"b"]
        self.assertEqual(list(self.db), keys)
        self.assertEqual(list(reversed(self.db)), keys[::-1])
        self.assertEqual(list(self.db.values()), [key.upper() for key in keys])

    def test_popitem_takes_the_first_until_there_is_none(self):
        self.fill(b"b", b"a")
        self.assertEqual(self.db.popitem(), (b"a", b"A"))
        self.assertEqual(self.db.popitem(), (b"b", b"B"))
        with self.assertRaises(KeyError):
            self.db.popitem()

    def test_whatever_has_a_buffer_is_taken_and_bytes_are_returned(self):
        self.db[bytearray(b"k\0")] = memoryview(b"abcd")[::2]
        self.assertEqual(self.db[memoryview(b"k\0")], b"ac")
        self.assertIs(type(self.db[b"k\0"]), bytes)
        self.db[b"array"] = array.array("B", [1, 2])
        self.assertEqual(self.db[b"array"], b"\1\2")

    def test_a_str_is_refused_everywhere(self):
        db = self.db
        for call in (
            lambda: db["k"], lambda: "k" in db, lambda: db.get("k"), lambda: db.put(b"k", "v"),
            lambda: db.put("k", b"v"), lambda: db.pop("k"), lambda: db.setdefault(b"k", "v"),
            lambda: db.cas(b"k", "v", None), lambda: db.write({"k": b"v"}), lambda: db.range("k"),
            lambda: db.prefix("k"), lambda: db.clear("a", "b"), lambda: db.update(k=b"v"),
        ):
            with self.assertRaisesRegex(TypeError, "bytes are needed, not str"):
                call()
        for call in (lambda: db[None], lambda: db.put(b"k", None), lambda: db.prefix(None)):
            with self.assertRaisesRegex(TypeError, "bytes are needed, not NoneType"):
                call()
        self.assertEqual(db, {})


class Writing(Case):
    def test_put_and_pop_return_the_previous_value_even_an_empty_one(self):
        self.assertIsNone(self.db.put(b"k", b""))
        self.assertEqual(self.db.put(b"k", b"\0v\0"), b"")
        self.assertEqual(self.db.pop(b"k"), b"\0v\0")
        self.assertIsNone(self.db.pop(b"k", None))

    def test_cas_tells_no_value_from_an_empty_one(self):
        cas = self.db.cas
        self.assertFalse(cas(b"k", b"", b"x"))
        self.assertTrue(cas(b"k", None, b""))
        self.assertFalse(cas(b"k", None, b"x"))
        self.assertTrue(cas(b"k", b"", b"x"))
        self.assertFalse(cas(b"k", b"", None))
        self.assertTrue(cas(b"k", b"x", None))
        self.assertNotIn(b"k", self.db)

    def test_clear_removes_what_range_shows(self):
        bounds = [None, b"", b"a", b"b", b"c", b"d"]
        for start, stop in itertools.product(bounds, repeat=2):
            self.fill(b"a", b"b", b"c")
            rest = dict(self.db.items() - set(self.db.range(start, stop)))
            self.db.clear(start, stop)
            self.assertEqual(self.db, rest)

    def test_write_takes_a_mapping_or_pairs_or_nothing_as_one_commit(self):
        commits = self.db.stat()["commits"]
        self.db.write({b"a": b"1", b"": b""})
        self.db.write([(b"b", b"2"), (bytearray(b"c"), b"\0")])
        self.assertEqual(self.db.stat()["commits"], commits + 2)
        copy = minidb.Database()
        copy.write(self.db)
        copy.write(copy.range())
        copy.write([])
        self.assertEqual(copy, {b"": b"", b"a": b"1", b"b": b"2", b"c": b"\0"})

    def test_a_write_that_fails_changes_nothing(self):
        with self.assertRaises(TypeError):
            self.db.write([(b"a", b"1"), (b"b", 2)])
        self.assertEqual(self.db, {})

    def test_stat_counts(self):
        self.fill(b"a", b"bc")
        stat = self.db.stat()
        self.assertEqual((stat["count"], stat["data_bytes"], stat["file_bytes"]), (2, 6, 0))
        self.db.check()
        self.db.sync()
        self.db.checkpoint()


class Ranges(Case):
    def test_ranges_both_ways_are_slices_of_the_sorted_keys(self):
        keys = [b"", b"a", b"a\0", b"ab", b"b", b"\xff"]
        self.fill(*keys)
        for start, stop in itertools.product([None, b"0", *keys], repeat=2):
            inside = [
                key for key in keys
                if (start is None or key >= start) and (stop is None or key < stop)
            ]
            found = [key for key, _ in self.db.range(start, stop)]
            self.assertEqual(found, inside)
            found = [key for key, _ in self.db.range(start, stop, reverse=True)]
            self.assertEqual(found, inside[::-1])

    def test_prefixes_both_ways(self):
        keys = [b"a", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff"]
        self.fill(*keys)
        for prefix in [b"", b"0", *keys]:
            inside = [(key, key.upper()) for key in keys if key.startswith(prefix)]
            self.assertEqual(list(self.db.prefix(prefix)), inside)
            self.assertEqual(list(self.db.prefix(prefix, reverse=True)), inside[::-1])

    def test_an_iterator_shows_what_there_was_when_it_was_made(self):
        self.fill(b"a", b"b")
        views = [self.db.range(), self.db.range(reverse=True), iter(self.db.items())]
        self.db.clear()
        self.fill(b"c")
        for entries in views:
            self.assertEqual(sorted(entries), [(b"a", b"A"), (b"b", b"B")])

    def test_entries_of_any_size_come_through_the_blocks_whole(self):
        sizes = [0, 3 << 20, 1]
        for block in (minidb._SMALLEST_BLOCK, 2 * minidb._SMALLEST_BLOCK, minidb._LARGEST_BLOCK):
            sizes += [block + around for around in (-11, -10, -9, 0, 1)]
        entries = [(b"%02d" % n, b"\0" * size) for n, size in enumerate(sizes)]
        for rotated in range(len(entries)):
            order = entries[rotated:] + entries[:rotated]
            db = minidb.Database()
            db.write((b"%02d" % n, value) for n, (_, value) in enumerate(order))
            self.assertEqual([value for _, value in order], list(db.values()))

    @unittest.skipUnless(os.environ.get("MINIDB_FULL"), "it takes 9 GiB of memory")
    def test_entries_over_an_int_are_read_in_every_way(self):
        for size in (2**31 - 9, 2**31 - 1):
            self.db[b"k"] = value = bytes(size - 1) + b"x"
            self.assertTrue(self.db[b"k"] == value)
            for reverse in (False, True):
                for view in (self.db, self.db.snapshot()):
                    self.assertTrue(list(view.range(reverse=reverse)) == [(b"k", value)])
            self.assertTrue(self.db.put(b"k", b"") == value)

    def test_many_small_entries_come_through_the_blocks(self):
        entries = {b"%06d" % n: b"%d" % n for n in range(100000)}
        self.db.write(entries)
        self.assertEqual(list(self.db.range()), list(entries.items()))
        self.assertEqual(list(reversed(self.db)), list(entries)[::-1])


class Errors(Case):
    def test_classes_say_what_went_wrong_and_so_do_codes(self):
        with self.assertRaises(minidb.InvalidError) as caught:
            minidb.Database(readonly=True)
        self.assertEqual(caught.exception.code, -1)
        self.assertTrue(str(caught.exception))
        for code, kind in minidb._ERRORS.items():
            error = minidb._error(code)
            self.assertEqual((type(error), error.code), (kind, code))
        self.assertIsInstance(minidb._error(-3), minidb.Error)
        self.assertIsInstance(minidb._error(-5), OSError)
        self.assertIsInstance(minidb._error(-8), MemoryError)

    def test_a_code_of_the_future_is_an_error_all_the_same(self):
        error = minidb._error(-99)
        self.assertEqual((type(error), error.code), (minidb.Error, -99))

    def test_a_path_with_a_nul_is_refused(self):
        with self.assertRaises(ValueError):
            minidb.Database("a\0b")

    def test_memory_has_a_path_too(self):
        for db in (minidb.Database(":memory:"), minidb.Database(b":memory:", nosync=True)):
            with db:
                self.assertEqual(db, {})

    def test_what_is_closed_refuses_everything(self):
        snapshot = self.db.snapshot()
        for view in (self.db, snapshot):
            view.close()
            view.close()
            for call in (
                lambda: view[b"k"], lambda: b"k" in view, lambda: len(view), lambda: iter(view),
                lambda: view.range(), lambda: view.prefix(b"", reverse=True), view.snapshot,
                view.stat, view.check,
            ):
                with self.assertRaises(minidb.InvalidError):
                    call()
        for call in (
            lambda: self.db.put(b"k", b"v"), lambda: self.db.pop(b"k", None), self.db.clear,
            lambda: self.db.cas(b"k", None, b"v"), lambda: self.db.write({}),
        ):
            with self.assertRaises(minidb.InvalidError):
                call()


class Lifetimes(Case):
    def test_with_closes(self):
        with self.db as db, db.snapshot() as snapshot:
            self.assertIs(db, self.db)
        for view in (self.db, snapshot):
            with self.assertRaises(minidb.InvalidError):
                len(view)

    def test_a_snapshot_stays_the_same_and_so_does_its_snapshot(self):
        self.fill(b"a", b"b")
        before = self.db.snapshot()
        self.db.pop(b"a")
        again = before.snapshot()
        before.close()
        self.assertEqual(again, {b"a": b"A", b"b": b"B"})
        self.assertEqual(self.db, {b"b": b"B"})

    def test_snapshots_of_all_ages_stay_as_they_were(self):
        rng = self.random()
        model, ages = {}, []
        for _ in range(2000):
            key = bytes([rng.randrange(8)])
            if rng.random() < 0.7:
                self.db[key] = model[key] = b"%d" % rng.randrange(100)
            else:
                self.assertEqual(self.db.pop(key, None), model.pop(key, None))
            if rng.random() < 0.2:
                ages.append((self.db.snapshot(), dict(model)))
            if len(ages) > 8:
                ages.pop(rng.randrange(len(ages)))
            for view, was in rng.sample(ages, min(2, len(ages))):
                self.assertEqual(view, was)
            self.assertEqual(self.db, model)

    def test_views_may_be_closed_in_any_order(self):
        for order in itertools.permutations(range(3)):
            db = minidb.Database()
            db.write({b"a": b"1", b"b": b"2"})
            views = [db, db.snapshot(), db.snapshot().snapshot()]
            walks = [view.range(reverse=way) for view in views for way in (False, True)]
            firsts = [next(walk) for walk in walks]
            for n, closing in enumerate(order, 1):
                views[closing].close()
                for left in order[n:]:
                    self.assertEqual(views[left], {b"a": b"1", b"b": b"2"})
            for first, walk in zip(firsts, walks):
                self.assertEqual(sorted([first, *walk]), [(b"a", b"1"), (b"b", b"2")])

    def test_what_is_forgotten_is_closed(self):
        self.fill(b"a", b"b")
        self.assertEqual(self.handles(), 1)
        kept = [self.db.snapshot(), self.db.range(), self.db.range(reverse=True), iter(self.db)]
        next(kept[2])
        self.assertEqual(self.handles(), 5)
        del kept
        self.assertEqual(self.handles(), 1)
        self.assertEqual(len(list(self.db.range())), 2)
        self.assertEqual(self.handles(), 1)

    def test_a_forgotten_database_is_closed(self):
        db = minidb.Database()
        snapshot = db.snapshot()
        self.assertEqual(self.handles(snapshot), 2)
        del db
        self.assertEqual(self.handles(snapshot), 1)

    def test_a_cycle_is_collected(self):
        snapshot = self.db.snapshot()
        snapshot.itself = snapshot
        del snapshot
        self.assertEqual(self.handles(), 1)


class Threads(Case):
    def together(self, *works):
        failures = []

        def run(work):
            try:
                work()
            except BaseException as error:  # to be raised where the test sees it
                failures.append(error)

        threads = [threading.Thread(target=run, args=[work]) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def test_cas_and_setdefault_lose_nothing(self):
        def count():
            for _ in range(300):
                while True:
                    old = self.db.setdefault(b"count", b"0")
                    if self.db.cas(b"count", old, b"%d" % (int(old) + 1)):
                        break

        self.together(*[count] * 4)
        self.assertEqual(self.db[b"count"], b"1200")

    def test_readers_see_whole_writes_while_others_write(self):
        keys = [b"%03d" % n for n in range(200)]

        def write():
            for n in range(50):
                self.db.write((key, b"%d" % n) for key in keys)

        def read():
            for reverse in (False, True) * 50:
                entries = list(self.db.range(reverse=reverse))
                self.assertIn(len(entries), (0, len(keys)))
                self.assertLessEqual(len({value for _, value in entries}), 1)

        self.together(write, read, read)

    def test_pop_gives_each_value_to_one_thread(self):
        self.db.write((b"%03d" % n, b"") for n in range(500))
        taken = []

        def take():
            for n in range(500):
                if self.db.pop(b"%03d" % n, None) is not None:
                    taken.append(n)

        self.together(take, take, take)
        self.assertEqual(sorted(taken), list(range(500)))

    def test_a_view_may_be_closed_under_its_readers(self):
        self.fill(*(b"%03d" % n for n in range(500)))
        reading = threading.Event()

        def read():
            with self.assertRaises(minidb.InvalidError):
                while True:
                    list(self.db.range())
                    reading.set()

        def close():
            reading.wait()
            self.db.close()

        self.together(read, read, close)


class TheLibrary(unittest.TestCase):
    def python(self, program, folder=MODULE.parent, **variables):
        variables = {"PYTHONPATH": str(folder), "MINIDB_LIBRARY": LIBRARY, **variables}
        environment = {**os.environ, **variables}
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", program], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )

    def test_leaving_without_closing_is_quiet(self):
        run = self.python(
            "import minidb; db = minidb.Database(); db[b'a'] = b''; s = db.snapshot();"
            "walks = db.range(), s.range(reverse=True); next(walks[0])"
        )
        self.assertEqual((run.returncode, run.stdout), (0, ""))

    def test_it_is_found_beside_the_module_and_in_target(self):
        for place in ("examples/python", "target/release", "target/debug"):
            with tempfile.TemporaryDirectory() as root:
                module = Path(root, "examples/python")
                module.mkdir(parents=True)
                shutil.copy(MODULE, module)
                Path(root, place).mkdir(parents=True, exist_ok=True)
                shutil.copy(LIBRARY, Path(root, place, minidb._FILE))
                program = "import minidb; print(minidb._lib._name)"
                run = self.python(program, module, MINIDB_LIBRARY="")
                found = Path(run.stdout.strip()).resolve()
                self.assertEqual(found, Path(root, place, minidb._FILE).resolve())

    def test_what_is_not_the_library_is_refused(self):
        run = self.python("import minidb", MINIDB_LIBRARY="no-such-file")
        self.assertIn("ImportError: no-such-file is not the minidb library", run.stdout)

    def test_a_library_of_another_version_is_refused(self):
        major, minor, _ = minidb.__version__.split(".")
        with tempfile.TemporaryDirectory() as folder:
            text = MODULE.read_text().replace(minidb.__version__, f"{major}.{int(minor) + 1}.0")
            Path(folder, "minidb.py").write_text(text)
            run = self.python("import minidb", folder)
        self.assertIn(f"is minidb {minidb.__version__}, this module is for", run.stdout)

    def test_the_numbers_and_functions_are_those_of_the_header(self):
        header = (ROOT / "include" / "minidb.h").read_text()
        defined = dict(re.findall(r"^#define MINIDB_(\w+) (-?\d+)$", header, re.MULTILINE))
        for name in ("READONLY", "EXISTING", "NEW", "NOSYNC"):
            self.assertEqual(getattr(minidb, f"_{name}"), int(defined[f"OPEN_{name}"]))
        stats = {name: int(n) for name, n in defined.items() if name.startswith("STAT_")}
        self.assertEqual(stats, {f"STAT_{s.upper()}": n for n, s in enumerate(minidb._STATS)})
        codes = {int(n) for name, n in defined.items() if "_" not in name and name != "OK"}
        self.assertEqual(codes, set(minidb._ERRORS))
        for name, (_, *arguments) in minidb._FUNCTIONS.items():
            declared = re.search(rf"\b{name}\(([^)]*)\);", header)
            self.assertIsNotNone(declared, name)
            count = 0 if declared[1] == "void" else declared[1].count(",") + 1
            self.assertEqual(count, len(arguments), name)


if __name__ == "__main__":
    unittest.main()
