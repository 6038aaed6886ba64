"""A disk that fails: EIO and ENOSPC at the server's own writes and syncs, put there by strace.

A write that failed may have happened all the same. So what was answered is there afterwards,
what was not can be sent again, and the server either goes on or ends in words.
"""

import asyncio
import contextlib
import errno
import os
import re
import signal
from pathlib import Path

import pytest
from servers import MINT, USER1, Process, Raw, fresh, run, signed, submit, transfer_request
from test_stop import is_kept
from traced import strace

WINDOW = 8
COUNT = 96
KINDS = ("{:06}.log", "{:06}.ldb", "{:06}.dbtmp", "MANIFEST-{:06}")
_INJECTED = re.compile(r"^\d+ +(\w+)\(\d+<([^>]*)>.*\(INJECTED\)$", re.MULTILINE)


class Failing(Process):
    """A `bserver` whose nth `call` on LevelDB's files fails, in each of its threads anew.

    `when` is in strace's words: "8" is the eighth, "8+" all from there on. Who opens a store
    again writes in a new thread, and so fails there at the same call.
    """

    def __init__(self, folder, call, error, when):
        super().__init__(folder)
        self._trace = folder / "trace"
        words = ["-y", "-o", str(self._trace), "-e", f"trace={call}"]
        words += ["-e", f"inject={call}:error={error}:when={when}"]
        for kind in KINDS:
            for number in range(1, 80):  # strace takes no patterns
                words += ["-P", str(folder / "test.db" / kind.format(number))]
        self._limit = strace(*words)

    def signal(self, number):
        pid = self.process.pid  # strace's; the server is its child
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, ValueError):
            (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            os.kill(int(child), number)

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)  # strace killed alone would leave it running
        super().__exit__(*error)

    def hits(self):
        """What failed: (call, kind of file)."""
        found = _INJECTED.findall(self._trace.read_text())
        return {(call, re.sub(r"[-.]?\d+[-.]?", "", Path(path).name)) for call, path in found}


async def pay(process, transfers):
    """Send each until it is accepted, or the server has ended; returns those that were."""
    left = {transfer.billots[0][0]: transfer for transfer in transfers}
    refused = []
    while left and process.process.poll() is None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with await Raw.open(process.address) as raw:
                waiting = list(left)
                for billot in waiting[:WINDOW]:
                    raw.write(transfer_request(billot, left[billot]))
                for billot in waiting[WINDOW:] + [None] * len(waiting[:WINDOW]):
                    answer = await raw.line()
                    if "error" in answer:
                        refused.append(answer["error"]["data"]["error"])
                        continue
                    del left[answer["id"]]
                    if billot is not None:
                        raw.write(transfer_request(billot, left[billot]))
        await asyncio.sleep(0)
    assert set(refused) <= {"store_failed"}
    return [transfer for transfer in transfers if transfer.billots[0][0] not in left]


def fails(folder, call, error, when):
    """Run a server with this fault; returns its exit status, how much it took, and what failed."""
    folder.mkdir(exist_ok=True)
    transfers = [signed(MINT, USER1, (billot, 1)) for billot in fresh(COUNT)]
    accepted = []
    with Failing(folder, call, error, when) as process:
        if process.address is not None:
            accepted = run(pay(process, transfers))
            process.signal(signal.SIGTERM)
        status, out, err = process.end()
        assert_said_well(status, out, err, error)
        hits = process.hits()
    run(is_kept(folder, [transfer.billots[0][0] for transfer in accepted]))
    with Process(folder) as process:  # what was not answered has happened or has not
        run(submit(process.address, *transfers))
    return status, len(accepted), hits


def assert_said_well(status, out, err, error):
    assert "Traceback" not in err
    if status == 0:
        assert out.splitlines()[-1] == "Stopped."
        assert "bserver: error: " not in err
        return
    assert status == 2
    reason = os.strerror(getattr(errno, error)).lower()
    assert err.count("bserver: error: ") == 1
    said = rf"^bserver: error: can't (write to|open) store .*: {reason}$"
    assert re.search(said, err, re.MULTILINE), err
    if error == "ENOSPC":
        assert err.endswith("hint: make space on the disk, then start again\n")


def test_attack_a_sync_that_fails_loses_nothing_that_was_answered(tmp_path):
    """The server says so, opens its store again, and goes on."""
    status, taken, hits = fails(tmp_path / "store", "fdatasync", "EIO", 9)
    assert (status, taken) == (0, COUNT)
    assert ("fdatasync", "log") in hits


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_attack_one_call_that_fails_loses_nothing_that_was_answered(tmp_path, call):
    """At a start, in a new store's making, while it serves, and when it opens its store again."""
    hits, statuses = set(), []
    for number in range(1, 13):
        status, taken, hit = fails(tmp_path / f"{number}", call, "EIO", number)
        assert hit
        assert taken == (COUNT if status == 0 else 0)
        hits |= hit
        statuses.append(status)
    assert hits == {(call, kind) for kind in ("log", "ldb", "dbtmp", "MANIFEST")}
    assert statuses == sorted(statuses, reverse=True), "what fails at a start ends it"
    assert statuses[0] == 2
    assert statuses.count(0) > 3


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("call", "error", "first"),
    [("write", "ENOSPC", 8), ("write", "EIO", 10), ("fdatasync", "EIO", 6)],
)
def test_attack_a_disk_that_fails_for_good_ends_the_server_in_words(tmp_path, call, error, first):
    """It tries to open its store again a few times, each after a longer while."""
    status, taken, hits = fails(tmp_path / "store", call, error, f"{first}+")
    assert status == 2
    assert 0 < taken < COUNT
    assert (call, "log") in hits


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_attack_a_disk_that_fails_while_a_killed_store_is_recovered(tmp_path, call):
    """Nothing is served then; started once more, it has all that it had answered."""
    hits = set()
    for number in range(1, 9):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        before = [signed(MINT, USER1, (billot, 1)) for billot in fresh(8)]
        with Process(folder) as process:
            run(submit(process.address, *before))
            process.end(signal.SIGKILL)
        _, _, hit = fails(folder, call, "EIO", number)
        hits |= hit
        run(is_kept(folder, [transfer.billots[0][0] for transfer in before]))
    assert hits >= {(call, kind) for kind in ("ldb", "dbtmp", "MANIFEST")}
