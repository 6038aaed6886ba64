"""Signatures checked by processes: right whatever becomes of them, and none left over."""

import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
from servers import DEADLINE_S, MINT, USER1, Process, Raw, fresh, run, signed, transfer_request

from billots import verifying
from billots.verifying import HERE_MAX, Verifying

GOOD = [signed(MINT, USER1, (f"k-{number}", 1)).check_arguments for number in range(2, 202)]
BAD = [(key, message + b"x", signature) for key, message, signature in GOOD]
MIXED = [check for pair in zip(GOOD, BAD, strict=True) for check in pair]
HELD = [True, False] * len(GOOD)


async def started(count=2):
    """One whose processes are there."""
    pool = Verifying(count)
    assert await pool.verify(MIXED) == HELD, "checked here while they start"
    await until(lambda: len(pool.pids) == count)
    return pool


async def until(true):
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


def is_there(pid):
    """Whether a process is there, and not only its name until somebody looks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid):
    """The processes that a process has started."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pids):
    deadline = time.monotonic() + DEADLINE_S
    while any(map(is_there, pids)):
        assert time.monotonic() < deadline


@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_holds_and_what_does_not_is_told_in_order(count):
    async def play():
        pool = await started(count)
        assert len(pool.pids) == count
        for size in (0, 1, HERE_MAX, HERE_MAX + 1, 100, len(MIXED)):
            assert await pool.verify(MIXED[:size]) == HELD[:size]
        pids = pool.pids
        await pool.close()
        return pids

    gone(run(play()))


def test_attack_keys_and_signatures_of_another_length_hold_nothing():
    async def play():
        pool = await started()
        key, message, signature = GOOD[0]
        odd = [
            (key[:31], message, signature),
            (key + b"\0", message, signature),
            (key, message, signature[:63]),
            (key, message, signature + message),
            (b"", b"", b""),
        ]
        pids = pool.pids
        assert await pool.verify([*odd, *GOOD]) == [False] * len(odd) + [True] * len(GOOD)
        assert pool.pids == pids, "nothing was misread"
        await pool.close()

    run(play())


def test_long_messages_are_checked_too():
    async def play():
        pool = await started()
        rows = [(f"k-{number}", 10**15) for number in range(2, 258)]
        checks = [signed(MINT, USER1, *rows).check_arguments] * 300
        assert await pool.verify(checks) == [True] * 300
        await pool.close()

    run(play())


def test_one_that_stands_still_is_not_waited_for_without_end(monkeypatch):
    async def play():
        pool = await started()
        before = pool.pids
        os.kill(before[0], signal.SIGSTOP)
        assert await pool.verify(MIXED) == HELD
        assert before[0] not in pool.pids
        await pool.close()
        return before

    monkeypatch.setattr(verifying, "_ANSWER_S", 2.0)
    gone(run(play()))


@pytest.mark.parametrize("victims", [1, 2])
def test_one_that_is_killed_loses_nothing(victims):
    async def play():
        pool = await started()
        before = pool.pids
        for pid in before[:victims]:
            os.kill(pid, signal.SIGKILL)
        assert await pool.verify(MIXED) == HELD
        assert await pool.verify(MIXED) == HELD
        while len(pool.pids) < 2:
            assert await pool.verify(MIXED) == HELD
        assert not set(before[:victims]) & set(pool.pids), "others took their place"
        await pool.close()

    run(play())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_one_that_died_while_it_had_nothing_to_do(loop):
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None

    async def play():
        pool = await started()
        process = pool._processes[0]
        before = process.pid
        os.kill(before, signal.SIGKILL)
        await until(lambda: process.returncode is not None)
        for _ in range(100):  # its pipes are closed some turns of the loop later
            await asyncio.sleep(0)
        assert await pool.verify(MIXED) == HELD
        assert before not in pool.pids
        await pool.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(play(), DEADLINE_S))


def test_attack_what_lies_in_the_folder_of_the_start_is_not_run(tmp_path, monkeypatch):
    for name in ("signal", "struct", "sitecustomize", "billots"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)

    async def play():
        pool = await started()
        assert await pool.verify(MIXED) == HELD
        await pool.close()

    run(play())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("noise", [b"\1", b"\0" * 9, b"\1" * 10, b"\1" * 100, b"Hello\n"])
def test_attack_a_process_that_says_more_than_its_answers(tmp_path, monkeypatch, caplog, noise):
    """Each answer would be another signature's, and forged ones would hold."""
    text = f"import os, sys\nif '-P' in sys.orig_argv: os.write(1, {noise!r})\n"
    (tmp_path / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def play():
        pool = Verifying(2)
        for _ in range(3):
            assert await pool.verify(MIXED) == HELD
            await until(lambda: pool._starting is None)
        assert not pool.pids
        await pool.close()

    caplog.set_level("WARNING", "billots.verifying")
    run(play())
    assert [record.message for record in caplog.records] == [
        "no other process to check signatures: it wrote what it was not asked"
    ]


def test_attack_noise_between_answers(tmp_path, monkeypatch):
    text = (
        "import sys\n"
        "if '-P' in sys.orig_argv:\n"
        "    import billots.crypto as crypto\n"
        "    right = crypto.verify\n"
        "    crypto.verify = lambda *check: (print('1' * 99, flush=True), right(*check))[1]\n"
    )
    (tmp_path / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def play():
        pool = await started()
        for size in (100, len(MIXED), 100):
            assert await pool.verify(MIXED[:size]) == HELD[:size]
        assert len(pool.pids) == 2
        await pool.close()

    run(play())


def test_ctrl_c_is_for_the_server_alone():
    async def play():
        pool = await started()
        for pid in pool.pids:
            os.kill(pid, signal.SIGINT)
        before = pool.pids
        assert await pool.verify(MIXED) == HELD
        assert pool.pids == before
        await pool.close()

    run(play())


def test_where_no_process_can_be_had_checks_are_made_here(monkeypatch, caplog):
    async def play():
        pool = Verifying(2)
        for _ in range(3):
            assert await pool.verify(MIXED) == HELD
        assert not pool.pids
        await pool.close()

    caplog.set_level("WARNING", "billots.verifying")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    run(play())
    assert [record.message for record in caplog.records] == [
        "no other process to check signatures: No such file or directory"
    ]


def test_those_that_have_nothing_to_do_are_let_go(monkeypatch):
    async def play():
        pool = await started()
        pids = pool.pids
        await until(lambda: not pool.pids)
        assert await pool.verify(MIXED) == HELD
        await pool.close()
        return pids

    monkeypatch.setattr(verifying, "_IDLE_S", 0.1)
    gone(run(play()))


def test_with_none_all_is_checked_here():
    async def play():
        pool = Verifying(0)
        assert await pool.verify(MIXED) == HELD
        assert await pool.verify(MIXED) == HELD
        assert not pool.pids
        await pool.close()

    assert len(MIXED) > HERE_MAX
    run(play())


def test_a_server_that_is_to_have_none_starts_none():
    async def busy(server):
        async with await Raw.open(server.address) as raw:
            for _ in range(4):
                billots = fresh(64)
                for billot in billots:
                    raw.write(transfer_request(billot, signed(MINT, USER1, (billot, 1))))
                for _ in billots:
                    assert "result" in await raw.line()
                assert not children(server.process.pid)

    with tempfile.TemporaryDirectory() as folder, Process(folder, "--checkers", 0) as server:
        run(busy(server))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_server_leaves_none_behind(end):
    async def busy(server):
        async with await Raw.open(server.address) as raw:
            while not (pids := children(server.process.pid)):
                billots = fresh(64)
                for billot in billots:
                    raw.write(transfer_request(billot, signed(MINT, USER1, (billot, 1))))
                for _ in billots:
                    assert "result" in await raw.line()
            return pids

    with tempfile.TemporaryDirectory() as folder, Process(folder) as server:
        pids = run(busy(server))
        assert all(map(is_there, pids))
        server.end(end)
        gone(pids)
