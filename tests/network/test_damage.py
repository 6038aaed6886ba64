"""A store that can't be used any more is kept, and its server starts as a new one.

Never repaired in silence: LevelDB would go on without what it can't read, and a server that
forgot some of its votes would contradict them.
"""

import asyncio
import contextlib
import shutil

import pytest
from servers import (
    DEADLINE_S,
    MINT,
    USER1,
    USER2,
    Mesh,
    Process,
    connect,
    fresh,
    holdings,
    mesh,
    run,
    signed,
    submit,
    until_settled,
)

from billots.errors import BillotsError, StoreDamaged, StoreOutdated, Unreachable
from billots.messages import Info
from billots.network import Network
from billots.server import Server
from billots.store import MemoryStore, open_store

TEST = Network.shipped("test")


def keys_told(out, err):
    """The server keys on stdout; the log has those that are new, as errors."""
    told = [line.split()[-1] for line in out.splitlines() if line.startswith("Server key: ")]
    logged = [line for line in err.splitlines() if "its key is" in line]
    assert [line.split()[-4] for line in logged] == told[-len(logged) :]
    assert all(" ERROR " in line for line in logged)
    return told


async def until_new_key(address, before):
    """Wait until the server at `address` has another key than before; it may be away meanwhile."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with contextlib.suppress(BillotsError):
                async with await connect(address) as client:
                    key = (await client.call("info", None, Info)).server
                    if key != before:
                        return key
            await asyncio.sleep(0)


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)
    return bytes(content)


def damage(folder, what):
    """Flip a bit in a store that nobody has open; returns the file's name and its new content."""
    open_store(folder, TEST).close()  # makes a table of what is in its log
    if what == "mark":
        return "BILLOTS", flip(folder / "BILLOTS", 9)
    if what == "manifest":
        (path,) = folder.glob("MANIFEST-*")
        return path.name, flip(path, 20)
    # Within the first block: billots, of which nothing is read at a start.
    path = max(folder.glob("*.ldb"), key=lambda path: path.stat().st_size)
    return path.name, flip(path, 100)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["manifest", "table", "mark"])
def test_attack_a_damaged_store_is_kept_and_its_server_is_a_new_one(tmp_path, what):
    """Flipped bits, seen when it is opened, or only when somebody asks for what was there."""
    billots = [*fresh(100), "j-1"]

    async def main():
        async with Mesh(tmp_path, 4) as servers:
            await servers.start(0, 1, 2)
            trusted = ", ".join(servers.hosts[:3])
            place = {"port": servers.ports[3]}
            with Process(tmp_path, "--trusted", trusted, **place) as process:
                for billot in billots:
                    await submit(servers.hosts[0], signed(MINT, USER1, (billot, 1)))
                for billot in billots:
                    await until_settled(servers.hosts[3], billot, 1, USER1)
                async with await connect(servers.hosts[3]) as client:
                    key = (await client.call("info", None, Info)).server
                assert process.end(15)[0] == 0
            name, content = damage(tmp_path / "test.db", what)
            with Process(tmp_path, "--trusted", trusted, **place) as process:
                with contextlib.suppress(BillotsError):  # this may be what shows the damage
                    async with await connect(servers.hosts[3]) as client:
                        await holdings(client, *billots)
                new_key = await until_new_key(servers.hosts[3], key)
                for billot in billots:
                    await until_settled(servers.hosts[3], billot, 1, USER1)
                await submit(servers.hosts[3], signed(USER1, USER2, (billots[0], 2)))
                await until_settled(servers.hosts[3], billots[0], 2, USER2)
                status, out, err = process.end(15)
            assert status == 0
            assert "Traceback" not in err
            assert keys_told(out, err)[-1] == new_key
            (said,) = [line for line in err.splitlines() if "is kept as" in line]
            kept = tmp_path / "test.db.damaged-1"
            assert " ERROR " in said
            assert ("can't read store " if what == "table" else "is damaged: ") in said
            assert f"store {tmp_path / 'test.db'} is kept as {kept}" in said
            assert (kept / name).read_bytes() == content
            store = open_store(tmp_path / "test.db", TEST, create=False)
            assert store.meta("key") is not None
            store.close()
            assert new_key != key

    run(main())


def test_a_damaged_store_of_a_server_that_trusts_nobody_is_an_error(tmp_path):
    """There is nobody to learn from: a new store would give every billot back to its issuer."""
    with Process(tmp_path) as process:
        run(submit(process.address, signed(MINT, USER1, (fresh()[0], 1))))
        process.end(15)
    name, content = damage(tmp_path / "test.db", "manifest")
    with Process(tmp_path) as process:
        status, out, err = process.end()
    assert (status, out) == (2, "")
    said, hint = err.splitlines()
    assert said.startswith(f"bserver: error: store {tmp_path / 'test.db'} is damaged: ")
    assert "nobody is trusted" in said
    assert hint.startswith("hint: put a copy back")
    assert (tmp_path / "test.db" / name).read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["test.db"]


def test_a_log_that_lost_its_end_is_damage(tmp_path):
    """LevelDB goes on without the last transfers and says nothing."""
    with Process(tmp_path) as process:
        for billot in fresh(3):
            run(submit(process.address, signed(MINT, USER1, (billot, 1))))
        process.end(15)
    (log,) = (tmp_path / "test.db").glob("*.log")
    log.write_bytes(log.read_bytes()[:-300])
    with Process(tmp_path) as process:
        status, out, err = process.end()
    assert (status, out) == (2, "")
    assert "is damaged: the last " in err
    assert " of its commits are missing; nobody is trusted who" in err


def test_who_trusts_only_itself_trusts_nobody(tmp_path):
    async def main():
        server = Server("test", store=tmp_path / "0.db")
        await server.start()
        port = server.port
        await server.stop()
        damage(tmp_path / "0.db", "manifest")
        own = f"localhost:{port}"
        with pytest.raises(StoreDamaged, match="nobody is trusted"):
            await Server("test", port=port, store=tmp_path / "0.db", trusted=own).start()

    run(main())


def test_attack_a_restored_old_copy_speaks_for_nobody(tmp_path):
    """Its trusted servers have votes of its own key that are not in it."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            before, after = fresh(5), fresh(5)
            server = servers.servers[3]
            await submit(server.address, *[signed(MINT, USER1, (billot, 1)) for billot in before])
            await servers.stop(3)
            shutil.copytree(tmp_path / "3.db", tmp_path / "copy")
            await servers.start(3)
            server = servers.servers[3]
            await submit(server.address, *[signed(MINT, USER1, (billot, 1)) for billot in after])
            await servers.settled(after[-1], 1, USER1)
            key = server.key
            await servers.stop(3)
            shutil.rmtree(tmp_path / "3.db")
            (tmp_path / "copy").rename(tmp_path / "3.db")
            await servers.start(3)
            assert await until_new_key(servers.hosts[3], key) != key
            for billot in before + after:
                await servers.settled(billot, 1, USER1)
            (one,) = fresh()
            await submit(servers.hosts[3], signed(MINT, USER1, (one, 1)))
            await servers.settled(one, 1, USER1)
        store = open_store(tmp_path / "3.db.outdated-1", TEST, create=False)
        assert all(store.moved(before))
        assert not any(store.moved(after))
        store.close()

    run(main())


# -- gone ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("how", ["deleted", "emptied", "moved", "replaced by a copy"])
def test_attack_a_store_that_goes_while_its_server_runs_takes_the_key_along(tmp_path, how):
    """LevelDB writes on to files that nobody will ever open again: such votes are on no disk."""
    billots, folder = fresh(10), tmp_path / "test.db"

    async def main():
        async with Mesh(tmp_path, 4) as servers:
            await servers.start(0, 1, 2)
            host, words = servers.hosts[3], ("--trusted", ", ".join(servers.hosts[:3]))
            place = {"port": servers.ports[3]}
            with Process(tmp_path, *words, "--log-level", "error", **place) as process:
                await submit(servers.hosts[0], *[signed(MINT, USER1, (b, 1)) for b in billots])
                for billot in billots:
                    await until_settled(host, billot, 1, USER1)
                async with await connect(host) as client:
                    key = (await client.call("info", None, Info)).server
                take_away(folder, how)
                new_key = await until_new_key(host, key)  # nothing is written meanwhile
                for billot in billots:
                    await until_settled(host, billot, 1, USER1)
                await submit(host, signed(USER1, USER2, (billots[0], 2)))
                await until_settled(host, billots[0], 2, USER2)
                status, out, err = process.end(15)
            assert (status, "Traceback" in err) == (0, False)
            assert keys_told(out, err) == [key, new_key]
            assert f"store {folder} was moved, deleted or replaced while the server ran" in err
            with contextlib.closing(open_store(folder, TEST, create=False)) as store:
                assert all(store.moved(billots))

    run(main())
    assert (tmp_path / "test.db.outdated-1").exists() == (how == "replaced by a copy")


def take_away(folder, how):
    if how == "deleted":
        shutil.rmtree(folder)
    elif how == "emptied":
        for path in folder.iterdir():
            path.unlink()
    else:
        if how != "moved":
            shutil.copytree(folder, folder.parent / "copy")
        folder.rename(folder.parent / "elsewhere")
        if how != "moved":
            (folder.parent / "copy").rename(folder)


@pytest.mark.slow
def test_attack_a_store_that_goes_while_nobody_is_trusted_ends_its_server(tmp_path):
    """A new one would give every billot back to its issuer."""
    with Process(tmp_path) as process:
        run(submit(process.address, signed(MINT, USER1, (fresh()[0], 1))))
        shutil.rmtree(tmp_path / "test.db")
        with pytest.raises(BillotsError):  # what can't be kept isn't answered
            run(submit(process.address, signed(MINT, USER1, (fresh()[0], 1))))
        status, _, err = process.end()
    assert status == 2
    *_, said, hint = err.splitlines()
    assert said.startswith(f"bserver: error: store {tmp_path / 'test.db'} was moved, deleted or ")
    assert said.endswith("; nobody is trusted who could tell what was in it")
    assert hint.startswith("hint: put a copy back")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_was_handed_in_is_never_moved(tmp_path):
    async def main():
        store = MemoryStore(TEST)
        server = Server("test", store=store)
        await server.start()
        server.node.outdated = True
        with pytest.raises(Unreachable):
            await submit(server.address, signed(MINT, USER1, (fresh()[0], 1)))
        with pytest.raises(StoreOutdated):
            await server.wait()
        await server.stop()

    run(main())
