"""Watching for payments: final before it is told, told once, and nothing missed."""

import asyncio
import contextlib
import signal

import pytest
from fake_server import FakeServer, altered
from servers import (
    MINT,
    OTHERS,
    TEST,
    USER1,
    USER2,
    USER3,
    Mesh,
    Process,
    free_ports,
    fresh,
    run,
    signed,
    submit,
    until,
    until_info,
)

from billots.arrivals import NotYetWatching, ServerChange, Unkept, Watching
from billots.errors import BillotsError, JournalError, KeyFileError, WrongNetwork
from billots.host import Host
from billots.kept_receipts import KeptReceipts
from billots.link import Problem
from billots.network import Network
from billots.wallet import AsyncWallet, Wallet


class Watcher:
    """User2's wallet, which watches while it is entered; its notes, and what it is told."""

    def __init__(self, tmp_path, trusted, **more):
        key = tmp_path / "watcher"
        if not key.exists():
            USER2.save(key)
        self.data = tmp_path / "watched"
        settings = {"keyfile": key, "trusted": trusted, "data_dir": self.data, "timeout_s": 2.0}
        self.wallet = AsyncWallet(**(settings | more))
        self.notes = []
        self._noted = asyncio.Event()
        self._told = asyncio.Queue()

    def _note(self, note):
        self.notes.append(note)
        self._noted.set()

    async def noted(self, wanted):
        """Wait for a note."""
        while not (found := [note for note in self.notes if wanted(note)]):
            self._noted.clear()
            await self._noted.wait()
        return found[0]

    async def begun(self):
        return await self.noted(lambda note: isinstance(note, Watching))

    async def changed(self, host, *, up):
        """Wait until it says that a server is up or down, and forget that it did."""
        change = await self.noted(
            lambda note: (
                isinstance(note, ServerChange)
                and note.host.place == str(host)
                and (note.problem is None) == up
            )
        )
        self.notes.remove(change)
        return change

    async def told(self):
        found = await self._told.get()
        if isinstance(found, BaseException):
            raise found
        return found

    @property
    def untold(self):
        return self._told.qsize()

    async def _watch(self):
        try:
            async with contextlib.aclosing(self.wallet.watch(self._note)) as payments:
                async for payment in payments:
                    kept = KeptReceipts(self.data).find(TEST.id, [b for b, _ in payment.billots])
                    assert {(b, each.seq) for b, each in kept.items()} == set(payment.billots)
                    self._told.put_nowait(payment)
        except (BillotsError, AssertionError) as error:
            self._told.put_nowait(error)

    async def __aenter__(self):
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def paying(transfer):
    """What is told of a transfer: from whom, which, and how much."""
    return transfer.sender, transfer.billots, TEST.total_mils(b for b, _ in transfer.billots)


def as_told(payment):
    return payment.sender, payment.billots, payment.mils


@contextlib.asynccontextmanager
async def watched(tmp_path, count=3, **more):
    async with Mesh(tmp_path, count) as mesh:
        await mesh.start()
        await mesh.linked()
        async with Watcher(tmp_path, mesh.hosts, **more) as watcher:
            await watcher.begun()
            yield mesh, watcher


def test_a_payment_is_told_once_though_three_servers_announce_it(tmp_path):
    async def play():
        async with watched(tmp_path) as (mesh, watcher):
            begun = await watcher.begun()
            assert (begun.total_mils, begun.needed, begun.n) == (16_000, 2, 3)
            for billots in (fresh(2), fresh(1), fresh(3)):
                transfer = signed(MINT, USER2, *((b, 1) for b in billots))
                await submit(mesh.hosts[0], transfer)
                payment = await watcher.told()
                assert as_told(payment) == paying(transfer)
                assert payment.transfer == transfer
                await mesh.settled(billots[0], 1, USER2)
            assert watcher.untold == 0
            assert watcher.notes == [begun]

    run(play())


def test_two_payments_at_once_are_two(tmp_path):
    async def play():
        async with watched(tmp_path) as (mesh, watcher):
            first = signed(MINT, USER2, (fresh()[0], 1))
            second = signed(USER1, USER2, ("a-1", 1), ("c-1", 1))
            await asyncio.gather(submit(mesh.hosts[0], first), submit(mesh.hosts[1], second))
            told = [as_told(await watcher.told()), as_told(await watcher.told())]
            assert sorted(told) == sorted([paying(first), paying(second)])

    run(play())


def test_what_goes_round_and_comes_back_is_another_payment_and_ones_own_is_none(tmp_path):
    async def play():
        async with watched(tmp_path, 1) as (mesh, watcher):
            (billot,) = fresh()
            await submit(mesh.hosts[0], signed(MINT, USER2, (billot, 1)))
            assert (await watcher.told()).billots == ((billot, 1),)
            to_itself = signed(USER2, USER2, (billot, 2))
            away, back = signed(USER2, USER3, (billot, 3)), signed(USER3, USER2, (billot, 4))
            await submit(mesh.hosts[0], to_itself, away, back)
            assert as_told(await watcher.told()) == paying(back)

    run(play())


async def followed(server):
    """Wait until a fake server is asked to tell, and has told what it lists."""

    async def ask():
        subscribed = [number for number, (m, _) in enumerate(server.requests) if m == "subscribe"]
        return [m for m, _ in server.requests[subscribed[0] :]] if subscribed else []

    await until(ask, lambda methods: "list" in methods)


async def asked_for(server, times):
    """Wait until a fake server is asked as often as that again."""
    before = len(server.asked("who_owns"))

    async def ask():
        return len(server.asked("who_owns")) - before

    await until(ask, lambda more: more >= times)


# -- liars -------------------------------------------------------------------------------------


def test_attack_a_liar_announces_transfers_that_never_were(tmp_path):
    """One by somebody who owns nothing, and one that its owner signed and showed to nobody else."""

    async def play():
        async with Mesh(tmp_path, 3) as mesh, FakeServer() as liar:
            await mesh.start()
            await mesh.linked()
            async with Watcher(tmp_path, [*mesh.hosts, liar.host]) as watcher:
                await watcher.begun()
                stolen, real = fresh(2)
                lies = [
                    signed(OTHERS[0], USER2, (stolen, 1)),
                    signed(USER1, USER2, ("a-1", 1)),
                    signed(MINT, USER2, (stolen, 999)),
                    signed(MINT, OTHERS[0], (stolen, 1)),
                ]
                for lie in lies:
                    liar.own(lie.billots[0][0], lie.billots[0][1], lie.sender, lie.to)
                    liar.prove(lie)
                await followed(liar)
                liar.announce(*lies)
                await asked_for(liar, 4)
                transfer = signed(MINT, USER2, (real, 1))
                await submit(mesh.hosts[1], transfer)
                assert as_told(await watcher.told()) == paying(transfer)
                assert watcher.untold == 0

    run(play())


def test_attack_an_old_payment_that_a_liar_announces_again_is_not_told(tmp_path):
    """It was paid and passed on before: a quorum says that it went through these hands."""

    async def play():
        async with Mesh(tmp_path, 3) as mesh, FakeServer() as liar:
            await mesh.start()
            await mesh.linked()
            old, new, kept = fresh(3)
            came = signed(MINT, USER2, (old, 1), (kept, 1))
            await submit(mesh.hosts[0], came)
            await mesh.settled(kept, 1, USER2.owner)
            before = Watcher(tmp_path, mesh.hosts).wallet
            assert (await before.check_owner(kept)).owner == USER2.owner
            await submit(mesh.hosts[0], signed(USER2, USER3, (old, 2), (kept, 2)))
            await mesh.settled(old, 2, USER3)
            async with Watcher(tmp_path, [*mesh.hosts, liar.host]) as watcher:
                await watcher.begun()
                await followed(liar)
                liar.announce(came)
                await asked_for(liar, 4)
                transfer = signed(MINT, USER2, (new, 1))
                await submit(mesh.hosts[1], transfer)
                assert as_told(await watcher.told()) == paying(transfer)

    run(play())


def test_attack_notices_that_are_none_end_nothing(tmp_path):
    async def play():
        async with FakeServer() as server:

            def garbled(_params, default):
                for writer in server._writers:
                    writer.write(b'{"jsonrpc":"2.0","method":"transferred","params":{"lsn":-1}}\n')
                    writer.write(b'{"jsonrpc":"2.0","method":"feed","params":[1]}\n')
                return default

            server.behaviour["subscribe"] = garbled
            async with Watcher(tmp_path, [server.host]) as watcher:
                await watcher.begun()
                await followed(server)
                transfer = signed(MINT, USER2, ("g-7", 1))
                server.own("g-7", 1, MINT.owner, USER2.owner)
                server.announce(altered(transfer, billots=(("zz-7", 1),)), transfer)
                assert as_told(await watcher.told()) == paying(transfer)

    run(play())


def test_attack_one_server_of_another_network_does_not_end_the_wait_for_the_others(tmp_path):
    async def play():
        async with FakeServer(network=Network.shipped("main")) as liar:
            port = free_ports(1)[0]
            trusted = [liar.host, f"127.0.0.1:{port}", "127.0.0.1:1"]
            async with Watcher(tmp_path, trusted, network=TEST) as watcher:
                await watcher.noted(lambda note: isinstance(note, NotYetWatching))
                assert watcher.untold == 0
            async with Watcher(tmp_path, [liar.host], network=TEST) as watcher:
                with pytest.raises(WrongNetwork):
                    await watcher.told()

    run(play())


# -- servers that come and go --------------------------------------------------------------------


@pytest.mark.slow
def test_a_watch_goes_on_when_a_server_is_killed_and_comes_back(tmp_path):
    ports = free_ports(3)
    trusted = ",".join(f"127.0.0.1:{port}" for port in ports)
    hosts = trusted.split(",")

    def server(port):
        return Process(tmp_path, "--prefix", port, "--trusted", trusted, port=port)

    async def play(stack, processes):
        for host in hosts:
            await until_info(host, lambda info: not info.counts["blank"])
        async with Watcher(tmp_path, hosts) as watcher:
            await watcher.begun()
            processes[2].end(signal.SIGKILL)
            assert (await watcher.changed(hosts[2], up=False)).problem is Problem.UNREACHABLE
            one, two, three = (signed(MINT, USER2, (billot, 1)) for billot in fresh(3))
            await submit(hosts[0], one)
            assert as_told(await watcher.told()) == paying(one)
            processes[1].end(signal.SIGKILL)
            await watcher.changed(hosts[1], up=False)
            await submit(hosts[0], two)  # one server is no quorum
            for index in (1, 2):
                processes[index] = stack.enter_context(server(ports[index]))
                await watcher.changed(hosts[index], up=True)
            assert as_told(await watcher.told()) == paying(two)
            processes[0].end(signal.SIGKILL)
            await watcher.changed(hosts[0], up=False)
            await submit(hosts[2], three)
            assert as_told(await watcher.told()) == paying(three)
            assert watcher.untold == 0
            changes = [note for note in watcher.notes if isinstance(note, ServerChange)]
            assert changes == [], "each change once"

    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(server(port)) for port in ports]
        run(play(stack, processes), 90)


class Cable:
    """A way to a server that can be cut and mended, on a port of its own."""

    def __init__(self, address):
        self._far = Host.parse(address)
        self.port = free_ports(1)[0]
        self._writers = set()

    async def mend(self):
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)

    async def cut(self):
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _join(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection(self._far.address, self._far.port)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.transport.abort()


def test_what_was_paid_while_the_watcher_was_cut_off_from_all_is_told_when_it_is_not(tmp_path):
    async def play():
        async with Mesh(tmp_path, 3) as mesh:
            await mesh.start()
            await mesh.linked()
            cables = [Cable(host) for host in mesh.hosts]
            for cable in cables:
                await cable.mend()
            places = [f"127.0.0.1:{cable.port}" for cable in cables]
            async with Watcher(tmp_path, places) as watcher:
                await watcher.begun()
                before = signed(MINT, USER2, (fresh()[0], 1))
                await submit(mesh.hosts[0], before)
                assert as_told(await watcher.told()) == paying(before)
                for cable, place in zip(cables, places, strict=True):
                    await cable.cut()
                    await watcher.changed(place, up=False)
                while_away = [signed(MINT, USER2, *((b, 1) for b in fresh(2))) for _ in range(2)]
                await submit(mesh.hosts[0], *while_away)
                for transfer in while_away:
                    await mesh.settled(transfer.billots[0][0], 1, USER2)
                for cable, place in zip(cables, places, strict=True):
                    await cable.mend()
                    await watcher.changed(place, up=True)
                told = [as_told(await watcher.told()) for _ in while_away]
                assert sorted(told) == sorted(map(paying, while_away))
                assert watcher.untold == 0, "what came before is not told again"
            for cable in cables:
                await cable.cut()

    run(play())


@pytest.mark.slow
def test_without_a_quorum_it_says_so_once_and_begins_when_there_is_one(tmp_path):
    async def play():
        mesh = Mesh(tmp_path, 3)
        await mesh.start()  # once together: then two of them are enough
        await mesh.linked()
        await mesh.stop()
        async with mesh, Watcher(tmp_path, mesh.hosts) as watcher:
            note = await watcher.noted(lambda note: isinstance(note, NotYetWatching))
            assert note == NotYetWatching(0, 2, 3)
            await mesh.start(0)
            await until_info(mesh.hosts[0], lambda info: info.counts["links_up"] == 0)
            assert watcher.notes == [note]
            await mesh.start(1)
            await watcher.begun()
            transfer = signed(MINT, USER2, (fresh()[0], 1))
            await submit(mesh.hosts[1], transfer)
            assert as_told(await watcher.told()) == paying(transfer)
            assert watcher.notes.count(note) == 1
            assert watcher.untold == 0

    run(play())


def test_a_server_that_shows_another_key_is_said_to_before_it_can_begin(tmp_path):
    async def play():
        async with FakeServer() as one:
            pinned = Host("127.0.0.1", one.port, "0" * 64)
            async with Watcher(tmp_path, [pinned]) as watcher:
                note = await watcher.noted(lambda note: isinstance(note, NotYetWatching))
                assert note == NotYetWatching(0, 1, 1)
                change = await watcher.changed(pinned.place, up=False)
                assert change.problem is Problem.CHANGED_KEY
                assert not [n for n in watcher.notes if isinstance(n, Watching)]

    run(play())


def test_a_server_that_shows_another_key_is_said_to(tmp_path):
    async def play():
        async with FakeServer() as one, FakeServer() as two:
            pinned = Host("127.0.0.1", two.port, "0" * 64)
            async with Watcher(tmp_path, [one.pinned, pinned], quorum="1") as watcher:
                change = await watcher.changed(pinned.place, up=False)
                assert change.problem is Problem.CHANGED_KEY

    run(play())


# -- what is in the way --------------------------------------------------------------------------


def test_what_another_process_took_and_passed_on_was_received(tmp_path):
    async def play():
        async with FakeServer() as server, Watcher(tmp_path, [server.pinned]) as watcher:
            await watcher.begun()
            await followed(server)
            came = signed(MINT, USER2, ("g-8", 1))
            server.own("g-8", 1, MINT.owner, USER2.owner)
            assert (await watcher.wallet.check_owner("g-8")).owner == USER2.owner
            server.own("g-8", 2, USER2.owner, USER3.owner)
            server.announce(came)
            assert as_told(await watcher.told()) == paying(came)

    run(play())


@pytest.mark.slow
def test_the_rest_of_a_transfer_that_is_final_later_is_told_of_then(tmp_path):
    async def play():
        async with FakeServer() as server, Watcher(tmp_path, [server.host]) as watcher:
            await watcher.begun()
            await followed(server)
            whole = signed(MINT, USER2, ("g-8", 1), ("g-9", 1))
            server.prove(whole)
            server.own("g-8", 1, MINT.owner, USER2.owner)
            server.announce(whole)
            first = await watcher.told()
            assert (first.billots, first.mils) == ((("g-8", 1),), 250)
            server.own("g-9", 1, MINT.owner, USER2.owner)
            second = await watcher.told()
            assert (second.billots, second.mils) == ((("g-9", 1),), 250)
            assert first.transfer == second.transfer == whole

    run(play())


def test_what_no_server_gives_the_transfer_of_is_not_told_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr("billots.announced.TRIES_MAX", 3)

    async def play():
        async with FakeServer() as server, Watcher(tmp_path, [server.host]) as watcher:
            await watcher.begun()
            await followed(server)
            server.own("g-8", 1, MINT.owner, USER2.owner)
            server.proofs.clear()
            server.announce(signed(MINT, USER2, ("g-8", 1)))
            note = await watcher.noted(lambda note: isinstance(note, Unkept))
            assert note == Unkept(("g-8",))
            assert watcher.untold == 0

    run(play())


def test_a_receipt_that_cannot_be_kept_ends_the_watch(tmp_path):
    async def play():
        async with watched(tmp_path, 1) as (mesh, watcher):
            (watcher.data / "receipts.sqlite").write_bytes(b"not a database" * 100)
            await submit(mesh.hosts[0], signed(MINT, USER2, (fresh()[0], 1)))
            with pytest.raises(JournalError):
                await watcher.told()

    run(play())


def test_the_iterator_for_scripts_is_none_inside_of_a_loop(tmp_path):
    USER2.save(tmp_path / "key")

    async def play():
        found = Wallet(keyfile=tmp_path / "key", trusted="127.0.0.1:1").watch()
        with pytest.raises(RuntimeError, match="use AsyncWallet"):
            next(found)

    run(play())


def test_only_the_public_key_is_needed(tmp_path):
    async def play():
        USER2.save(tmp_path / "whole")
        (tmp_path / "whole").unlink()
        async with watched(tmp_path, 1, keyfile=tmp_path / "whole") as (mesh, watcher):
            transfer = signed(MINT, USER2, (fresh()[0], 1))
            await submit(mesh.hosts[0], transfer)
            assert as_told(await watcher.told()) == paying(transfer)

    run(play())
    with pytest.raises(KeyFileError):
        AsyncWallet(keyfile=tmp_path / "none", trusted="127.0.0.1:1").watch()
