"""Tests of transactions in examples/python/minidb.py. Run with MINIDB_LIBRARY set:

    python3 -m unittest tests/python/test_transactions.py
"""

import collections.abc
import sys
import tempfile
import threading
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "python"))

import minidb  # noqa: E402 (it is found only now)


class Case(unittest.TestCase):
    def setUp(self):
        self.db = minidb.Database()
        self.addCleanup(self.db.close)
        self.db.write({b"a": b"1", b"b": b"2"})


class InAWithBlock(Case):
    def test_it_commits_at_the_end(self):
        with self.db.transaction() as txn:
            self.assertIsInstance(txn, collections.abc.MutableMapping)
            txn[b"c"] = b"3"
            del txn[b"a"]
            self.assertEqual(list(txn.items()), [(b"b", b"2"), (b"c", b"3")])
            self.assertEqual(list(self.db), [b"a", b"b"])
        self.assertEqual(list(self.db.items()), [(b"b", b"2"), (b"c", b"3")])
        with self.assertRaises(minidb.InvalidError):
            txn[b"a"]

    def test_an_exception_drops_its_writes(self):
        with self.assertRaises(ZeroDivisionError):
            with self.db.transaction() as txn:
                txn[b"c"] = b"3"
                1 / 0
        self.assertNotIn(b"c", self.db)
        self.assertEqual(self.db.stat()["handles"], 1)

    def test_what_is_overtaken_raises_and_writes_nothing(self):
        with self.assertRaises(minidb.OvertakenError) as raised:
            with self.db.transaction() as txn:
                txn[b"c"] = txn[b"a"]
                self.db[b"a"] = b"1"
        self.assertIsInstance(raised.exception, minidb.Error)
        self.assertEqual(raised.exception.code, 2)
        self.assertNotIn(b"c", self.db)
        self.assertEqual(self.db.stat()["handles"], 1)

    def test_what_reads_nothing_is_never_overtaken(self):
        with self.db.transaction() as txn:
            txn.clear(b"a", b"b")
            txn.write({b"c": b"3"})
            self.db[b"a"] = b"other"
        self.assertEqual(list(self.db), [b"b", b"c"])


class ByHand(Case):
    def test_a_commit_says_whether_it_was_done(self):
        txn = self.db.transaction()
        txn[b"c"] = txn[b"a"]
        entries = iter(txn)
        self.db[b"a"] = b"x"
        self.assertFalse(txn.commit())
        self.assertEqual((txn[b"a"], b"c" in txn), (b"x", False))  # begun anew
        txn[b"c"] = b"3"
        self.assertTrue(txn.commit())
        self.assertEqual(list(entries), [b"a", b"b", b"c"])
        txn.close()
        self.assertEqual(self.db[b"c"], b"3")

    def test_all_of_a_mapping_works_in_it(self):
        txn = self.db.transaction()
        self.assertEqual(txn.pop(b"a"), b"1")
        self.assertEqual(txn.setdefault(b"n", b"4"), b"4")
        self.assertTrue(txn.cas(b"b", b"2", b"two"))
        self.assertEqual(txn.put(b"b", b"3"), b"two")
        self.assertEqual(list(txn.range(reverse=True)), [(b"n", b"4"), (b"b", b"3")])
        self.assertEqual(list(txn.prefix(b"n")), [(b"n", b"4")])
        self.assertEqual(len(txn), 2)
        self.assertTrue(txn.commit())
        self.assertEqual(dict(self.db), {b"b": b"3", b"n": b"4"})

    def test_its_truth_asks_for_no_count(self):
        for part in (lambda txn: txn, lambda txn: txn.keys(), lambda txn: txn.items(),
                     lambda txn: txn.values()):
            with self.db.transaction() as txn:
                self.assertTrue(part(txn))
                self.db[b"later %d" % len(self.db)] = b""
                txn[b"c"] = b"3"
            with self.assertRaises(minidb.OvertakenError), self.db.transaction() as txn:
                txn.clear()
                self.assertFalse(part(txn))
                txn[b"c"] = b"%d" % len(txn)
                self.db[b"later %d" % len(self.db)] = b""

    def test_there_is_none_on_another_view(self):
        txn = self.db.transaction()
        with self.assertRaises(minidb.InvalidError):
            txn.snapshot()
        self.assertFalse(hasattr(txn, "transaction"))
        self.assertFalse(hasattr(self.db.snapshot(), "transaction"))

    def test_it_goes_on_when_its_database_is_closed(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "app.minidb")
            db = minidb.Database(path)
            txn = db.transaction()
            db.close()
            txn[b"k"] = b"v"
            self.assertTrue(txn.commit())
            txn.close()
            with minidb.Database(path, readonly=True) as db, db.transaction() as txn:
                self.assertEqual(txn[b"k"], b"v")
                with self.assertRaises(minidb.ReadOnlyError):
                    txn[b"k"] = b"w"


class Transact(Case):
    def test_it_returns_what_the_body_does(self):
        self.assertEqual(self.db.transact(lambda txn: txn[b"a"]), b"1")
        self.assertEqual(self.db.stat()["handles"], 1)

    def test_an_exception_drops_its_writes(self):
        def body(txn):
            txn[b"c"] = b"3"
            raise KeyError("no")

        with self.assertRaises(KeyError):
            self.db.transact(body)
        self.assertNotIn(b"c", self.db)
        self.assertEqual(self.db.stat()["handles"], 1)

    def test_it_runs_again_while_others_are_faster(self):
        runs = []

        def body(txn):
            old = txn[b"a"]
            if len(runs) < 2:
                self.db[b"a"] = b"%d" % (10 + len(runs))
            txn[b"a"] = old + b"!"
            runs.append(old)

        self.db.transact(body)
        self.assertEqual(runs, [b"1", b"10", b"11"])
        self.assertEqual(self.db[b"a"], b"11!")

    def test_threads_lose_no_update(self):
        def add(txn):
            txn[b"sum"] = b"%d" % (int(txn.get(b"sum", b"0")) + 1)

        def work():
            for _ in range(200):
                self.db.transact(add)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.db[b"sum"], b"800")


if __name__ == "__main__":
    unittest.main()
