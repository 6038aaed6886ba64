"""Auditing servers, and lists: who lies is caught with both votes, who doesn't is not framed."""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from fake_server import CLOSE, TEST, FakeServer, altered

import billots.mock
from billots.crypto import PrivateKey, verify
from billots.errors import BillotIdError, Unreachable
from billots.feed import AdoptedRow, FeedBatch, TransferRow
from billots.findings import as_proof
from billots.holding import Holding, Status
from billots.host import Host
from billots.kept_receipts import KeptReceipt, KeptReceipts
from billots.link import Problem
from billots.messages import Change, ChangeList
from billots.network import Network
from billots.receipt import FeedVote, Receipt, SignedVote
from billots.statement import Statement
from billots.transfer import Transfer
from billots.wallet import AsyncWallet

MOCK = Path(billots.mock.__file__).parent
USER1, USER2, USER3, MINT = (
    PrivateKey.load(MOCK / name) for name in ("user1", "user2", "user3", "mint")
)
SETTLED, HELD = Status.SETTLED, Status.HELD
UNKNOWN = Holding(0, None, None, Status.UNKNOWN)


@contextlib.asynccontextmanager
async def running(count=4, **settings):
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(FakeServer(**settings)) for _ in range(count)]


def wallet(tmp_path, servers, **settings):
    settings.setdefault("trusted", [server.host for server in servers])
    settings.setdefault("keyfile", MOCK / "user1")
    return AsyncWallet(data_dir=tmp_path, **settings)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def all_own(servers, owner=USER1, seq=1, status=SETTLED):
    for server in servers:
        server.own("a-5", seq, MINT.owner, owner.owner, status)


def says(server, owner, status=SETTLED, seq=1):
    """A vote of this server as it signs it."""
    row = ("a-5", Holding(seq, MINT.owner, owner.owner, status))
    made = Statement.make(TEST, server.key.public_hex, [row]).sign(server.key, "0" * 16)
    return SignedVote(statement=made.signed())


def moves(owner, seq=1):
    return Transfer.sign(TEST, MINT, owner.owner, [("a-5", seq)])


def two_faced(server, owner, status=SETTLED, *, receipt=None):
    """Every second question is answered with another owner."""
    server.prove(moves(owner))
    times = []

    def answer(params, said):
        times.append(params)
        if len(times) % 2:
            return said
        holding = Holding(1, MINT.owner, owner.owner, status)
        proof = (moves(owner), msgspec.Raw(receipt or b"null"))
        rows = [(b, holding if b == "a-5" else server.holding(b)) for b in params.billots]
        proofs = [proof if b == "a-5" else (None, msgspec.Raw(b"null")) for b in params.billots]
        made = Statement.make(TEST, server.key.public_hex, rows, proofs)
        return made.sign(server.key, params.nonce)

    server.behaviour["who_owns"] = answer


def is_signed(vote):
    """Whether a vote's signature holds, and whom it names."""
    (row,) = vote.statement.billots
    transfer = Transfer.sign(TEST, MINT, row.owner, [("a-5", row.seq)])
    (word,) = Receipt(transfer, (vote,)).words()
    return verify(*word.check), row.owner


# -- honest servers ----------------------------------------------------------------------------


def test_servers_that_agree(tmp_path):
    async def scenario():
        async with running() as servers:
            all_own(servers)
            progress = []
            report = await wallet(tmp_path, servers).audit(
                "a-5, b-1,a-5", on_progress=lambda *at: progress.append(at)
            )
            assert (report.clean, report.billots, report.undecided) == (True, ("a-5", "b-1"), ())
            assert [server.agreeing for server in report.servers] == [2, 2, 2, 2]
            assert progress[-1] == (8, 8), "each is asked twice"
            for server in servers:
                nonces = [params.nonce for params in server.asked("who_owns")]
                assert len(nonces) == len(set(nonces)) == 2
                assert all(params.proof for params in server.asked("who_owns"))

    run(scenario())


def test_who_is_down_or_behind_is_no_liar(tmp_path):
    async def scenario():
        async with running() as servers, running(1) as dead:
            all_own(servers[:3])
            servers[3].holdings["a-5"] = UNKNOWN
            gone = dead[0].host
            mine = [server.host for server in servers]
        async with running() as servers:
            all_own(servers[:3])
            servers[3].holdings["a-5"] = UNKNOWN
            servers[2].behaviour["who_owns"] = lambda *_: CLOSE
            mine = [*(server.host for server in servers), gone]
            report = await wallet(tmp_path, [], trusted=mine, timeout_s=1.0).audit("a-5")
            assert report.clean
            assert report.undecided == ("a-5",)
            assert [server.behind for server in report.servers] == [0, 0, 0, 1, 0]
            assert report.servers[2].problem is not None
            assert report.servers[4].problem is Problem.UNREACHABLE

    run(scenario())


def test_who_catches_up_meanwhile_agrees_and_who_is_ahead_too(tmp_path):
    async def scenario():
        async with running() as servers:
            all_own(servers)
            servers[0].holdings["a-5"] = UNKNOWN

            def later(params, said):
                if len(servers[0].asked("who_owns")) <= 2:
                    return said
                all_own(servers[:1])
                return servers[0].on_who_owns(params)

            servers[0].behaviour["who_owns"] = later
            servers[1].own("a-5", 2, USER1.owner, USER2.owner, HELD)
            report = await wallet(tmp_path, servers).audit("a-5")
            assert report.clean
            assert [server.agreeing for server in report.servers] == [1, 1, 1, 1]

    run(scenario())


def test_nobody_there_and_bad_ids(tmp_path):
    async def scenario():
        async with running(1) as servers:
            mine = wallet(tmp_path, servers)
            for bad in ("a-0", "a-10001"):
                with pytest.raises(BillotIdError):
                    await mine.audit(bad)
        for asked in ("a-1", None):
            with pytest.raises(Unreachable):
                await mine.audit(asked)

    run(scenario())


def test_who_holds_the_next_transfer_shows_the_receipt_of_the_one_before(tmp_path):
    async def scenario():
        async with running() as servers:
            before = Receipt(moves(USER1), tuple(says(server, USER1) for server in servers[1:]))
            for server in servers:
                server.own("a-5", 2, USER1.owner, USER2.owner, HELD)
                server.receipts["a-5"] = msgspec.json.encode(before)
            report = await wallet(tmp_path, servers).audit("a-5")
            assert [server.false_proofs for server in report.servers] == [[], [], [], []]
            assert report.agreed
            all_own(servers[:2])
            assert (await wallet(tmp_path, servers).audit("a-5")).clean
            # A receipt of the seq before is none if it brought the billot to somebody else.
            other = Receipt(moves(USER3), (says(servers[0], USER3),))
            servers[3].receipts["a-5"] = msgspec.json.encode(other)
            report = await wallet(tmp_path, servers).audit("a-5")
            assert report.servers[3].false_proofs == ["a-5"]

    run(scenario())


def torn(servers, *owners, status=Status.CONTESTED):
    """The owner signed it over to all of these, one server each; all can prove it."""
    for server, owner in zip(servers, owners, strict=True):
        server.own("a-5", 1, MINT.owner, owner.owner, status)
        server.evidence["a-5"] = (moves(USER1), moves(USER2))


def test_an_owner_who_signed_twice_is_named_and_no_server_is_blamed(tmp_path):
    async def scenario():
        async with running() as servers:
            torn(servers, USER1, USER1, USER2, USER3)
            report = await wallet(tmp_path, servers).audit("a-5, b-1")
            pair = report.twice["a-5"]
            assert (pair.first.sender, pair.second.to) == (MINT.owner, USER2.owner)
            assert [server.disagreeing for server in report.servers] == [[], [], [], []]
            assert (report.clean, report.undecided, report.agreed) == (True, ("a-5",), False)
            # Nor where a quorum has one of them, and another server's vote was for the other.
            torn(servers, USER1, USER1, USER1, USER2, status=HELD)
            report = await wallet(tmp_path, servers).audit("a-5")
            assert (report.clean, list(report.twice), report.undecided) == (True, ["a-5"], ())

    run(scenario())


def test_attack_what_was_signed_twice_hides_no_server_that_calls_the_other_settled(tmp_path):
    async def scenario():
        async with running() as servers:
            torn(servers, USER1, USER1, USER1, USER2, status=SETTLED)
            report = await wallet(tmp_path, servers).audit("a-5")
            assert report.servers[3].disagreeing == ["a-5"]
            # And a pair of somebody else's signatures excuses nobody.
            all_own(servers, status=HELD)
            all_own(servers[3:], USER3, status=HELD)
            forged = [Transfer.sign(TEST, USER3, to.owner, [("a-5", 1)]) for to in (USER1, USER2)]
            for server in servers:
                server.evidence["a-5"] = tuple(forged)
            report = await wallet(tmp_path, servers).audit("a-5")
            assert (report.servers[3].disagreeing, dict(report.twice)) == (["a-5"], {})

    run(scenario())


# -- liars -------------------------------------------------------------------------------------


def test_attack_a_server_with_two_faces_is_caught_with_both_votes(tmp_path):
    async def scenario():
        async with running() as servers:
            all_own(servers)
            two_faced(servers[1], USER3)
            report = await wallet(tmp_path, servers).audit("a-5")
            assert [len(server.contradictions) for server in report.servers] == [0, 1, 0, 0]
            (found,) = report.servers[1].contradictions
            assert (found.server, found.unproven) == (servers[1].key.public_hex, False)
            votes = [is_signed(found.first), is_signed(found.second)]
            assert sorted(votes) == sorted([(True, USER1.owner), (True, USER3.owner)])
            proof = msgspec.to_builtins(as_proof(found, report.network, "h"))
            assert len(proof["votes"]) == 2
            assert not report.clean

    run(scenario())


def test_attack_held_and_held_for_another_is_a_lie_too(tmp_path):
    async def scenario():
        async with running() as servers:
            all_own(servers, status=HELD)
            two_faced(servers[1], USER3, HELD)
            report = await wallet(tmp_path, servers).audit("a-5")
            assert [c.unproven for c in report.servers[1].contradictions] == [False]

    run(scenario())


@pytest.mark.parametrize("claims", [0, 1, 2])
def test_attack_settled_against_an_own_vote_owes_a_receipt(tmp_path, claims):
    async def scenario():
        async with running() as servers:
            all_own(servers[:1], USER1, status=HELD)
            for server in servers[1:]:
                server.holdings["a-5"] = UNKNOWN
            votes = tuple(says(server, USER3) for server in servers[1 : 1 + claims])
            own = (says(servers[0], USER3),)  # what it says itself is no proof of it
            receipt = msgspec.json.encode(Receipt(moves(USER3), own + votes))
            two_faced(servers[0], USER3, SETTLED, receipt=receipt)
            report = await wallet(tmp_path, servers).audit("a-5")
            found = report.servers[0].contradictions
            assert [c.unproven for c in found] == ([] if claims == 2 else [True])
            assert report.clean is (claims == 2)

    run(scenario())


def test_who_settles_what_all_others_have_against_an_own_vote_is_no_liar(tmp_path):
    async def scenario():
        async with running() as servers:
            all_own(servers[1:], USER3)
            all_own(servers[:1], USER1, status=HELD)
            two_faced(servers[0], USER3, SETTLED)
            assert (await wallet(tmp_path, servers).audit("a-5")).clean
            for server in servers[2:]:
                server.holdings["a-5"] = UNKNOWN
            report = await wallet(tmp_path, servers).audit("a-5")
            assert [c.unproven for c in report.servers[0].contradictions] == [True]

    run(scenario())


def test_attack_a_quorum_of_votes_is_a_receipt_but_not_for_two_settled(tmp_path):
    async def scenario():
        async with running() as servers:
            votes = tuple(says(server, USER3, HELD) for server in servers[1:])
            receipt = msgspec.json.encode(Receipt(moves(USER3), votes))
            for server in servers[1:]:
                server.holdings["a-5"] = UNKNOWN
            all_own(servers[:1], USER1, status=HELD)
            two_faced(servers[0], USER3, SETTLED, receipt=receipt)
            assert (await wallet(tmp_path, servers).audit("a-5")).clean
            all_own(servers[:1], USER1, status=SETTLED)
            two_faced(servers[0], USER3, SETTLED, receipt=receipt)
            report = await wallet(tmp_path, servers).audit("a-5")
            assert [c.unproven for c in report.servers[0].contradictions] == [False]

    run(scenario())


def test_attack_a_vote_in_a_kept_receipt_convicts_who_says_otherwise_now(tmp_path):
    async def scenario():
        async with running() as servers:
            all_own(servers)
            await wallet(tmp_path, servers).check_owner("a-5")
            signed = KeptReceipts(tmp_path).summary(TEST.id)["a-5"].servers
            liar = next(s for s in servers if s.key.public_hex in signed)
            all_own([liar], USER3)
            report = await wallet(tmp_path, servers).audit("a-5")
            (caught,) = [server for server in report.servers if server.contradictions]
            assert caught.key == liar.key.public_hex
            assert caught.disagreeing == ["a-5"]

    run(scenario())


def test_attack_a_vote_in_a_feed_convicts_as_well(tmp_path):
    async def scenario():
        async with running() as servers:
            transfer = moves(USER1)
            batch = FeedBatch.sign(TEST.id, servers[0].key, [TransferRow(1, transfer.id)])
            receipt = Receipt(transfer, (SignedVote(feed=FeedVote.of(batch, 0)),))
            KeptReceipts(tmp_path).keep(TEST.id, [KeptReceipt("a-5", 1, receipt)])
            all_own(servers, USER3, status=HELD)
            report = await wallet(tmp_path, servers).audit("a-5")
            assert [len(server.contradictions) for server in report.servers] == [1, 0, 0, 0]

    run(scenario())


def fed(server, *rows, transfers=()):
    return FeedBatch.sign(TEST.id, server.key, rows, transfers)


@pytest.mark.parametrize("carried", [True, False], ids=["body carried", "body fetched"])
def test_attack_who_tells_followers_otherwise_than_wallets_is_caught(tmp_path, carried):
    async def scenario():
        async with running() as servers:
            all_own(servers, status=HELD)
            other = moves(USER3)
            if not carried:
                servers[2].prove(other)
            bodies = (other,) if carried else ()
            servers[2].feed = [fed(servers[2], TransferRow(9, other.id), transfers=bodies)]
            report = await wallet(tmp_path, servers).audit("a-5")
            assert [len(server.contradictions) for server in report.servers] == [0, 0, 1, 0]
            (found,) = report.servers[2].contradictions
            assert found.second.feed.row == f"9 {other.id}"

    run(scenario())


def test_attack_an_adopted_row_in_a_feed_is_a_settled_vote(tmp_path):
    async def scenario():
        async with running() as servers:
            all_own(servers)
            row = AdoptedRow(9, "a-5", 1, MINT.owner, USER3.owner)
            servers[2].feed = [fed(servers[2], row)]
            report = await wallet(tmp_path, servers).audit("a-5")
            assert [c.unproven for c in report.servers[2].contradictions] == [False]

    run(scenario())


def test_a_feed_that_agrees_or_is_of_another_or_none_convicts_nobody(tmp_path):
    async def scenario():
        async with running() as servers:
            all_own(servers)
            same = moves(USER1)
            other = TransferRow(9, moves(USER3).id)
            servers[0].feed = [fed(servers[0], TransferRow(9, same.id), transfers=[same])]
            servers[1].feed = [fed(servers[0], other, transfers=[moves(USER3)])]
            forged = fed(servers[2], other, transfers=[moves(USER3)])
            servers[2].feed = [altered(forged, signature="0" * 128)]
            servers[3].feed = [{"server": 5}]
            report = await wallet(tmp_path, servers, timeout_s=1.0).audit("a-5")
            assert report.clean
            false = altered(moves(USER3), signature="0" * 128)
            servers[0].feed = [fed(servers[0], other, transfers=[false])]
            assert (await wallet(tmp_path, servers, timeout_s=1.0).audit("a-5")).clean

    run(scenario())


def test_attack_a_liar_that_says_one_thing_to_all_disagrees(tmp_path):
    async def scenario():
        async with running() as servers:
            all_own(servers)
            all_own(servers[2:3], USER3)
            report = await wallet(tmp_path, servers).audit("a-5,b-1")
            liar = report.servers[2]
            assert (liar.agreeing, liar.disagreeing, liar.contradictions) == (1, ["a-5"], [])
            assert not report.clean

    run(scenario())


def test_attack_a_server_with_another_key_for_each_face_is_caught(tmp_path):
    async def scenario():
        async with running() as servers:
            all_own(servers)
            other = PrivateKey.generate()

            def answer(params, said):
                if len(servers[3].asked("who_owns")) % 2:
                    return said
                rows = [(row.id, row.holding) for row in said.billots]
                return Statement.make(TEST, other.public_hex, rows).sign(other, params.nonce)

            servers[3].behaviour["who_owns"] = answer
            report = await wallet(tmp_path, servers).audit("a-5")
            assert report.servers[3].problem is Problem.CHANGED_KEY
            assert not report.clean

    run(scenario())


FALSE = {
    "no receipt": b"[1]",
    "another billot's": msgspec.json.encode(
        Receipt(
            Transfer.sign(TEST, MINT, USER1.owner, [("a-6", 1)]),
            (says(FakeServer(), USER1),),
        )
    ),
    "a false signature of its owner": msgspec.json.encode(
        Receipt(altered(moves(USER1), signature="0" * 128), (says(FakeServer(), USER1),))
    ),
}


@pytest.mark.parametrize("receipt", FALSE.values(), ids=FALSE)
def test_attack_false_receipts_are_told(tmp_path, receipt):
    async def scenario():
        async with running() as servers:
            all_own(servers)
            servers[1].receipts["a-5"] = receipt
            report = await wallet(tmp_path, servers).audit("a-5")
            assert [server.false_proofs for server in report.servers] == [[], ["a-5"], [], []]
            assert not report.clean

    run(scenario())


def test_attack_a_false_transfer_is_told(tmp_path):
    async def scenario():
        async with running() as servers:
            all_own(servers)
            servers[1].proofs["a-5", 1, USER1.owner] = altered(moves(USER1), signature="0" * 128)
            report = await wallet(tmp_path, servers).audit("a-5")
            assert report.servers[1].false_proofs == ["a-5"]

    run(scenario())


def test_attack_forged_votes_in_a_receipt_frame_nobody(tmp_path):
    async def scenario():
        async with running() as servers:
            all_own(servers)
            true = says(servers[0], USER3)
            forged = SignedVote(statement=altered(true.statement, signature="0" * 128))
            servers[1].own("a-5", 1, MINT.owner, USER3.owner)
            given = Receipt(moves(USER3), (says(servers[1], USER3), forged))
            servers[1].receipts["a-5"] = msgspec.json.encode(given)
            report = await wallet(tmp_path, servers).audit("a-5")
            assert report.servers[0].clean
            assert report.servers[1].false_proofs == ["a-5"]

    run(scenario())


# -- at random ---------------------------------------------------------------------------------


def test_random_billots_are_ones_own_moved_ones_and_any(tmp_path):
    async def scenario():
        async with running() as servers:
            for number in range(2, 42):
                for server in servers:
                    server.own(f"k-{number}", 1, MINT.owner, USER2.owner)
            mine = wallet(tmp_path, servers)
            report = await mine.audit(count=32)
            assert len(report.billots) == 32
            moved = {f"k-{number}" for number in range(2, 42)}
            assert len(moved & set(report.billots)) >= 16
            assert {"a-1", "b-1", "c-1"} <= set(report.billots)
            assert report.clean
            assert (await mine.audit(count=32)).billots != report.billots
            assert len((await mine.audit(count=1)).billots) == 1

    run(scenario())


def test_a_network_smaller_than_the_question_is_asked_whole(tmp_path):
    async def scenario():
        small = Network.from_fields(
            {
                "name": "small",
                "denominations": [{"prefix": "z-", "value": "7", "circulation": 10}],
                "issuer": MINT.owner,
                "allocations": {},
            }
        )
        async with running(network=small) as servers:
            report = await wallet(tmp_path, servers, network=small).audit(count=64)
            assert report.billots == tuple(f"z-{number}" for number in range(1, 11))

    run(scenario())


def test_attack_changes_that_name_no_billots_are_passed_over(tmp_path):
    async def scenario():
        async with running(1) as (server,):
            bad = Change(1, altered(moves(USER1), billots=(("a-99999", 1), ("zzz-1", 1))))
            server.behaviour["changes"] = lambda *_: ChangeList([bad] * 500, 1)
            assert len((await wallet(tmp_path, [server]).audit(count=8)).billots) == 8
            server.behaviour["changes"] = lambda *_: b'{"changes": 5}'
            assert (await wallet(tmp_path, [server]).audit(count=8)).clean

    run(scenario())


# -- lists -------------------------------------------------------------------------------------


def bounds(report):
    return [(pair.first.names, pair.second.names, pair.shared, pair.liars) for pair in report.pairs]


def test_servers_that_trust_each_other_are_one_list(tmp_path):
    async def scenario():
        async with running() as servers:
            for server in servers:
                others = [other for other in servers if other is not server]
                server.trusted = [str(other.host) for other in others]
            report = await wallet(tmp_path, servers).check_trust()
            places = [server.host.place for server in servers]
            names = ("yourself", *places)
            assert bounds(report) == [(names, names, 4, 1)]
            assert (report.yours.n, report.yours.needed, report.yours.down) == (4, 3, 1)
            assert report.weak == ()
            overview = await wallet(tmp_path, servers).overview()
            assert overview.trust.weak == ()

    run(scenario())


def test_lists_that_overlap_too_little_are_told(tmp_path):
    async def scenario():
        async with running(6) as servers:
            hosts = [server.host.place for server in servers]
            for server in servers[:4]:
                server.trusted = hosts[:4]
            for server in servers[4:]:
                server.trusted = [*hosts[4:], "far.example.org:7333", "off.example.org:7333"]
            mine = wallet(tmp_path, servers[:4])
            report = await mine.check_trust(", ".join(hosts[2:]))
            assert report.pairs[0].liars == 1
            weak = {(pair.first.names[0], pair.second.names[0]) for pair in report.weak}
            assert weak == {
                ("yourself", "the other"),
                ("yourself", hosts[4]),
                ("the other", hosts[4]),
            }
            alone = await wallet(tmp_path, servers[3:5]).overview()
            assert len(alone.trust.weak) >= 1

    run(scenario())


def test_attack_a_server_is_known_by_its_key_wherever_it_is_said_to_be(tmp_path):
    async def scenario():
        async with running(2) as servers:
            one, two = servers
            aliases = [f"localhost:{one.port}", f"[::1]:{two.port}", f"127.0.0.1:{two.port}"]
            one.trusted = two.trusted = aliases
            report = await wallet(tmp_path, servers).check_trust()
            assert [pair.shared for pair in report.pairs] == [2]
            pinned = [f"far.example.org:1#{two.key.public_hex}"]
            one.trusted = two.trusted = pinned
            report = await wallet(tmp_path, servers).check_trust()
            assert {pair.shared for pair in report.pairs if pair.first.n == 2} >= {2}

    run(scenario())


def test_a_server_that_is_down_is_no_stranger_to_who_pins_it(tmp_path):
    async def scenario():
        async with running() as servers:
            for server in servers:
                server.trusted = [str(other.pinned) for other in servers if other is not server]
            mine = [f"localhost:{server.port}" for server in servers]
            async with contextlib.AsyncExitStack() as stack:
                for server in servers[:2]:
                    await server.__aexit__()
                    stack.push_async_callback(server.__aenter__)
                report = await wallet(tmp_path, [], trusted=mine).check_trust()
            assert [(pair.shared, pair.liars) for pair in report.pairs] == [(4, 1)]
            assert report.weak == ()

    run(scenario())


def test_attack_a_pinned_key_that_answers_elsewhere_is_that_server(tmp_path):
    async def scenario():
        async with running(2) as servers:
            one, two = servers
            one.trusted = [f"127.0.0.1:1#{two.key.public_hex}"]
            trusted = [one.host, two.host, "127.0.0.1:1"]
            report = await wallet(tmp_path, [], trusted=trusted).check_trust()
            published = next(p.second for p in report.pairs if p.second.names[0] != "yourself")
            assert published.servers == {one.key.public_hex, two.key.public_hex}

    run(scenario())


def test_attack_another_machines_localhost_is_not_ours(tmp_path):
    async def scenario():
        async with running(2, address="0.0.0.0") as servers:
            for server in servers:
                server.trusted = [f"localhost:{other.port}" for other in servers]
            report = await wallet(tmp_path, servers).check_trust()
            assert all(pair.shared <= 1 for pair in report.pairs if pair.first != pair.second)

    run(scenario())


@pytest.mark.parametrize("published", [["h:p"], ["a.org:1"] * 5, ["a.org:1-999"] * 3, ["\x1b[2J"]])
def test_attack_a_list_that_is_none_is_passed_over(tmp_path, published):
    async def scenario():
        async with running(1) as (server,):
            server.trusted = published
            report = await wallet(tmp_path, [server]).check_trust()
            assert report.yours.n == 1
            named = [name for pair in report.pairs for name in pair.first.names]
            assert not any("\x1b" in name for name in named)

    run(scenario())


def test_a_list_is_judged_though_nobody_answers(tmp_path):
    report = run(wallet(tmp_path, [], trusted="127.0.0.1:1, 127.0.0.1:2").check_trust())
    assert (report.yours.n, report.yours.needed, len(report.pairs)) == (2, 2, 1)
    assert all(answer.key is None for answer in report.answers)
    assert Host.parse("127.0.0.1:1") == report.answers[0].host
