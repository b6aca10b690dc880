"""Tests of what exceptions, interrupts, copies and the end do to views of
examples/python/minidb.py. Run with MINIDB_LIBRARY set:

    python3 -m unittest tests/python/test_interrupts.py

MINIDB_SEED repeats the interrupts of an earlier run, which printed it.
"""

import copy
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "examples" / "python"
sys.path.insert(0, str(MODULE))

import minidb  # noqa: E402 (it is found only now)

INTERRUPTED = """
import copy, gc, random, signal, sys
import minidb

path, seed, wanted = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng, interrupts = random.Random(seed), 0
memory = minidb.Database()
memory.write((b"%03d" % n, b"v" * n) for n in range(300))

def interrupt(*_):
    global interrupts
    interrupts += 1
    raise KeyboardInterrupt

def work():
    # Opening and closing a file waits for the disk, most of the time.
    place = path if rng.random() < 0.1 else None
    with minidb.Database(place, nosync=True) as db:
        db.put(b"a", b"1"), db.put(b"a", b"2")
        with db.snapshot() as before, db.transaction() as txn:
            walk = txn.range()
            txn[b"b"] = before[b"a"] + next(walk)[1]
            list(before.range(reverse=True)), bool(before.items()), db.pop(b"c", None)
    snapshots = [memory.snapshot() for _ in range(5)]
    walks = [walk for view in snapshots for walk in (view.range(), view.range(reverse=True))]
    memory.transact(lambda txn: txn.put(b"n", bytes(map(len, map(next, walks)))))
    try:
        copy.copy(snapshots[0])
    except TypeError:
        pass
    snapshots.pop().close()

def many():
    while interrupts < wanted:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 2e-3))
        work()
    signal.setitimer(signal.ITIMER_REAL, 0)

signal.signal(signal.SIGALRM, interrupt)
while interrupts < wanted:
    try:
        many()
    except KeyboardInterrupt:
        pass
signal.signal(signal.SIGALRM, signal.SIG_IGN)
gc.collect()
print(memory.stat()["handles"], "handle")
with minidb.Database(path) as db:
    db.check()
memory.close()
"""


def python(program, *arguments):
    variables = {"PYTHONPATH": str(MODULE), "MINIDB_LIBRARY": minidb._lib._name}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
        env={**os.environ, **variables}, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


class Interrupts(unittest.TestCase):
    @unittest.skipUnless(hasattr(signal, "setitimer"), "there are no timers")
    def test_an_interrupt_anywhere_loses_no_handle_and_no_lock(self):
        seed = int(os.environ.get("MINIDB_SEED", random.randrange(1 << 32)))
        print(f"MINIDB_SEED={seed}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            run = python(INTERRUPTED, Path(folder, "a.minidb"), seed, 1000)
            self.assertEqual((run.returncode, run.stdout), (0, "1 handle\n"), run.stderr)
            self.assertEqual(os.listdir(folder), ["a.minidb"])


class Copies(unittest.TestCase):
    def test_no_view_and_no_iterator_is_copied_or_pickled(self):
        db = minidb.Database()
        db[b"a"] = b"1"
        snapshot, txn = db.snapshot(), db.transaction()
        walks = [way for view in (db, snapshot, txn) for way in (
            iter(view), reversed(view), view.range(), view.prefix(b"", reverse=True),
            iter(view.items()), iter(view.values()))]
        handles = db.stat()["handles"]
        for view in [db, snapshot, txn, *walks]:
            for way in (copy.copy, copy.deepcopy, pickle.dumps):
                with self.assertRaises(TypeError):
                    way(view)
        for part in (db.keys(), snapshot.items(), txn.values()):
            for way in (copy.deepcopy, pickle.dumps):
                with self.assertRaises(TypeError):
                    way(part)
        self.assertEqual(db.stat()["handles"], handles)
        self.assertEqual((dict(db), dict(snapshot), dict(txn)), ({b"a": b"1"},) * 3)


class TheEnd(unittest.TestCase):
    def test_what_is_not_collected_is_closed_at_exit(self):
        program = (
            "import gc, sys, minidb; gc.disable(); db = minidb.Database(sys.argv[1]);"
            "db[b'a'] = b'1'; db.walk = db.range(); db.itself = db; del db"
        )
        with tempfile.TemporaryDirectory() as folder:
            run = python(program, Path(folder, "a.minidb"))
            self.assertEqual((run.returncode, run.stdout + run.stderr), (0, ""))
            self.assertEqual(os.listdir(folder), ["a.minidb"])


if __name__ == "__main__":
    unittest.main()
