"""What would lose a customer's notes, keep them for ever, or blame somebody who is honest."""

import pytest
from fake_server import FakeServer
from servers import Mesh, run, signed, submit, until
from till import SMALL, owner_of, place, till, wallet, with_limits

from billots.errors import InputError
from billots.exchanging import Outcome
from billots.journal import Journal
from billots.messages import Accepted


def playing(tmp_path, play, count=1, timeout_s=60):
    async def whole():
        async with Mesh(tmp_path, count) as mesh:
            await mesh.start()
            await mesh.linked()
            return await play(mesh)

    return run(whole(), timeout_s)


def given_away(tmp_path, owner):
    """The transfers that the wallet signed."""
    with Journal.open(owner, tmp_path / "wallet") as journal:
        return [entry.transfer for entry in journal.entries]


async def moves_to_itself(mesh, key, note, *seqs):
    """Another wallet with this key, on another machine, moves a note about."""
    for seq in seqs:
        await submit(mesh.hosts[0], signed(key, key, (note, seq)))
        await mesh.settled(note, seq, key)


# -- what the quote doesn't name -------------------------------------------------------------------


@pytest.mark.parametrize("moves", [1, 2, 3, 4])
def test_attack_notes_that_moved_since_they_were_quoted_are_not_given(tmp_path, moves):
    """At another seq than the quote's nothing is owed for them."""

    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        mine = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            offered = await mine.quote_change("0.35", place(listener))
            await moves_to_itself(mesh, key, note, *range(2, 2 + moves))
            found = await mine.exchange(offered)
            assert found.outcome is Outcome.NOT_GIVEN
            assert given_away(tmp_path, key.owner) == []
            assert (await mine.list_billots()).total_mils == 10_000
            assert await mine.finish_exchanges() == []

    playing(tmp_path, play)


def test_attack_notes_that_move_while_they_are_given_are_not_signed_at_another_seq(
    tmp_path, monkeypatch
):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        mine = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            offered = await mine.quote_change("0.35", place(listener))
            from billots import exchanging

            send = exchanging.send

            async def later(*args, **more):
                await moves_to_itself(mesh, key, note, 2)
                return await send(*args, **more)

            monkeypatch.setattr(exchanging, "send", later)
            with pytest.raises(InputError, match="moved since they were quoted"):
                await mine.exchange(offered)
            assert given_away(tmp_path, key.owner) == []

    playing(tmp_path, play)


# -- liars in the change server's own list ---------------------------------------------------------


def test_attack_a_first_server_that_passes_nothing_on_keeps_no_change(tmp_path):
    """The change, and what came in for it: one of four says that it took them, and tells nobody."""

    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        await owner_of(mesh, tmp_path / "key", {"d-": 1})
        async with FakeServer() as liar:

            def takes(params, _said):
                transfer = params.transfer
                for billot, seq in transfer.billots:
                    liar.own(billot, seq, transfer.sender, transfer.to)
                ids = [billot for billot, _ in transfer.billots]
                return Accepted(True, transfer.id, liar.statement(ids, params.nonce))

            liar.behaviour["transfer"] = takes
            trusted = [str(liar.host), *mesh.hosts]
            limits = with_limits(final_s=0.5, again_s_max=0.2)
            async with till(tmp_path, mesh, trusted=trusted, limits=limits) as listener:
                found = await wallet(tmp_path, mesh).change("0.35", place(listener), lambda _: True)
                assert found.outcome is Outcome.CHANGED

                async def ask():
                    return [entry.closed for entry in listener.server._book]

                await until(ask, all)

    playing(tmp_path, play, 3)
