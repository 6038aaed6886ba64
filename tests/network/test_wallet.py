"""The wallet against servers that lie, are silent, forget, or speak another language."""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from fake_server import CLOSE, SILENT, TEST, FakeServer, Refuse, altered

import billots.mock
from billots.crypto import PrivateKey
from billots.errors import (
    AlreadySigned,
    BillotIdError,
    InputError,
    JournalError,
    KeyFileError,
    OwnerIdError,
    ProtocolError,
    Refused,
    ServerKeyChanged,
    Unreachable,
    WrongNetwork,
)
from billots.holding import Holding, Status
from billots.host import Host
from billots.journal import Journal
from billots.jsonrpc import APPLICATION_ERRORS
from billots.known_servers import KnownServers
from billots.link import Problem
from billots.messages import Info, Listed, NetworkName, UnmovedRange
from billots.network import Network
from billots.poll import Answer
from billots.quorum import Verdict
from billots.transfer import Transfer
from billots.wallet import AsyncWallet, Wallet

MOCK = Path(billots.mock.__file__).parent
USER1, USER2, USER3, MINT = (
    PrivateKey.load(MOCK / name) for name in ("user1", "user2", "user3", "mint")
)
MAIN = Network.shipped("main")
UNKNOWN = Holding(0, None, None, Status.UNKNOWN)
ANYWHERE = "0.0.0.0"  # reaches this machine, and is no loopback address: keys are remembered


@contextlib.asynccontextmanager
async def running(count=1, **settings):
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(FakeServer(**settings)) for _ in range(count)]


def wallet(tmp_path, servers=(), **settings):
    if servers:
        settings.setdefault("trusted", [server.host for server in servers])
    settings.setdefault("keyfile", MOCK / "user1")
    return AsyncWallet(data_dir=tmp_path, **settings)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


async def dead_host():
    """A place where nobody listens."""
    async with FakeServer() as server:
        return server.host


# -- keys --------------------------------------------------------------------------------------


def test_a_wallet_needs_no_arguments_and_opens_nothing():
    made = Wallet()
    assert made.awaitable.server.place == "mint1.billots.org:7333"
    assert [host.port for host in made.awaitable.trusted] == [7333, 7334, 7335]
    assert made.awaitable.keyfile == Path("key")


def test_keys_are_made_once_and_hashed(tmp_path):
    mine = Wallet(keyfile=tmp_path / "key")
    with pytest.raises(KeyFileError):
        mine.owner_hash()
    assert mine.generate_keys() == tmp_path / "key"
    assert mine.owner_hash() == PrivateKey.load(tmp_path / "key").owner
    with pytest.raises(KeyFileError):
        mine.generate_keys()
    assert mine.generate_keys(tmp_path / "other") == tmp_path / "other"


def test_bad_settings_are_refused_at_once():
    for settings in ({"quorum": "most"}, {"trusted": "a b c#"}, {"server": "x:0"}):
        with pytest.raises(InputError):
            Wallet(**settings)


def test_the_synchronous_wallet_has_the_same_verbs(tmp_path):
    async def scenario():
        async with running(2) as servers:
            hosts = [server.host for server in servers]
            mine = Wallet(keyfile=MOCK / "user1", trusted=hosts, data_dir=tmp_path)
            check = await asyncio.to_thread(mine.check_owner, "a-1")
            assert check.owner == USER1.owner
            assert (await asyncio.to_thread(mine.who_owns, "a-1")).owner == USER1.owner
            listing = await asyncio.to_thread(mine.list_billots)
            assert [billot.id for billot in listing.billots] == ["a-1", "b-1", "c-1"]
            sent = await asyncio.to_thread(mine.transfer, "a-1", USER2.owner)
            assert sent.transfer.to == USER2.owner
            with pytest.raises(RuntimeError, match="AsyncWallet"):
                mine.who_owns("a-1")

    run(scenario())


# -- who owns it -------------------------------------------------------------------------------


def test_a_quorum_names_the_owner(tmp_path):
    async def scenario():
        heard = []
        async with running(3) as servers:
            check = await wallet(tmp_path, servers).check_owner("a-1", heard.append)
            assert (check.verdict, check.owner) == (Verdict.OWNER, USER1.owner)
            assert (check.tally.needed, check.tally.n) == (2, 3)
            assert len(heard) >= 2
            assert all(isinstance(answer, Answer) for answer in heard)
            keys = {server.key.public_hex for server in servers}
            assert {answer.key for answer in heard} <= keys

    run(scenario())


def test_every_question_has_a_nonce_of_its_own(tmp_path):
    async def scenario():
        async with running() as servers:
            mine = wallet(tmp_path, servers)
            for _ in range(5):
                await mine.check_owner("a-1")
            nonces = [params.nonce for params in servers[0].asked("who_owns")]
            assert len(set(nonces)) == 5
            assert all(len(nonce) == 32 for nonce in nonces)

    run(scenario())


def test_dead_and_silent_servers_are_not_waited_for_once_a_quorum_stands(tmp_path):
    async def scenario():
        async with running(3) as servers:
            servers[2].behaviour["info"] = lambda *_: SILENT
            mine = wallet(tmp_path, servers, timeout_s=60.0)
            check = await asyncio.wait_for(mine.check_owner("a-1"), 10)
            assert check.owner == USER1.owner
            assert check.answers[2].problem is Problem.NOT_AWAITED

    run(scenario())


def test_an_unreachable_server_stays_in_n(tmp_path):
    async def scenario():
        async with running(1) as servers:
            hosts = [servers[0].host, await dead_host()]
            check = await wallet(tmp_path, trusted=hosts).check_owner("a-1")
            assert (check.verdict, check.owner) == (Verdict.UNDECIDED, None)
            assert (check.tally.votes, check.tally.needed, check.tally.n) == (1, 2, 2)
            assert check.answers[1].problem is Problem.UNREACHABLE

    run(scenario())


def test_silence_is_told_from_death(tmp_path):
    async def scenario():
        async with running(2) as servers:
            servers[1].behaviour["who_owns"] = lambda *_: SILENT
            check = await wallet(tmp_path, servers, timeout_s=0.3).check_owner("a-1")
            assert check.verdict is Verdict.UNDECIDED
            assert check.answers[1].problem is Problem.SILENT

    run(scenario())


def test_nobody_there_is_an_error(tmp_path):
    async def scenario():
        dead = await dead_host()
        with pytest.raises(Unreachable, match=f"can't reach {dead.place}") as caught:
            await wallet(tmp_path, trusted=[dead]).check_owner("a-1")
        assert caught.value.hint
        with pytest.raises(Unreachable, match="none of the 2 servers"):
            await wallet(tmp_path, trusted=[dead, await dead_host()]).check_owner("a-1")

    run(scenario())


@pytest.mark.parametrize(("liars", "verdict"), [(1, Verdict.OWNER), (2, Verdict.UNDECIDED)])
def test_a_quorum_of_four_survives_one_liar(tmp_path, liars, verdict):
    async def scenario():
        async with running(4) as servers:
            for server in servers[:liars]:
                server.own("a-1", 0, None, USER3.owner)
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert check.verdict is verdict
            assert check.owner == (USER1.owner if verdict is Verdict.OWNER else None)

    run(scenario())


@pytest.mark.parametrize(
    ("rule", "needed", "verdict"),
    [
        ("safe", 3, Verdict.UNDECIDED),
        ("majority", 3, Verdict.UNDECIDED),
        ("90%", 4, Verdict.UNDECIDED),
        ("50%", 2, Verdict.OWNER),
        ("2", 2, Verdict.OWNER),
        ("4", 4, Verdict.UNDECIDED),
    ],
)
def test_the_rule_of_the_quorum_is_the_wallets(tmp_path, rule, needed, verdict):
    async def scenario():
        async with running(4) as servers:
            for number, server in enumerate(servers[2:]):
                server.own("a-1", 0, None, str(number) * 128)
            check = await wallet(tmp_path, servers, quorum=rule).check_owner("a-1")
            assert (check.tally.needed, check.verdict) == (needed, verdict)
        with pytest.raises(InputError, match="quorum of 5"):
            await wallet(tmp_path, servers, quorum="5").check_owner("a-1")

    run(scenario())


def test_no_owner_of_what_is_unissued(tmp_path):
    async def scenario():
        async with running(3, network=MAIN) as servers:
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert (check.verdict, check.owner) == (Verdict.NO_OWNER, None)

    run(scenario())


@pytest.mark.parametrize("billot", ["a-0", "a-01", "A-1", "a-1\n", "z", ""])
def test_what_is_no_id_is_refused_before_anything_is_asked(tmp_path, billot):
    async def scenario():
        async with running() as servers:
            with pytest.raises(BillotIdError):
                await wallet(tmp_path, servers).check_owner(billot)
            assert servers[0].requests == []

    run(scenario())


def test_an_id_that_does_not_circulate_is_refused(tmp_path):
    async def scenario():
        async with running() as servers:
            for billot in ("a-10001", "z-1"):
                with pytest.raises(BillotIdError, match="no such billot in network test"):
                    await wallet(tmp_path, servers).check_owner(billot)
            assert servers[0].asked("who_owns") == []

    run(scenario())


def test_who_owns_asks_one_server_alone(tmp_path):
    async def scenario():
        async with running(2) as (one, other):
            one.own("a-1", 1, USER1.owner, USER2.owner, Status.HELD)
            mine = wallet(tmp_path, [other], server=one.host)
            check = await mine.who_owns("a-1")
            assert (check.owner, check.tally.n) == (USER2.owner, 1)
            assert other.requests == []
            one.own("a-1", 1, USER1.owner, USER2.owner, Status.DISPUTED)
            assert (await mine.who_owns("a-1")).verdict is Verdict.DISPUTED
            one.holdings["a-1"] = UNKNOWN
            assert (await mine.who_owns("a-1")).verdict is Verdict.UNDECIDED
            one.behaviour["who_owns"] = unsigned
            with pytest.raises(ProtocolError):
                await mine.who_owns("a-1")
        with pytest.raises(Unreachable):
            await mine.who_owns("a-1")

    run(scenario())


# -- what must not be counted ------------------------------------------------------------------


def unsigned(_params, statement):
    return msgspec.structs.replace(statement, nonce=msgspec.UNSET, signature=msgspec.UNSET)


def no_signature(_params, statement):
    return altered(statement, signature=msgspec.UNSET)


def wrong_signature(_params, statement):
    return altered(statement, signature="0" * 128)


def another_billot(_params, statement):
    row = altered(statement.billots[0], id="a-2")
    return altered(statement, billots=(row,))


def no_rows(_params, statement):
    return altered(statement, billots=())


def another_owner(_params, statement):
    row = altered(statement.billots[0], owner=USER3.owner)
    return altered(statement, billots=(row,))


def anothers_key(_params, statement):
    return altered(statement, server=USER3.public_hex)


@pytest.mark.parametrize(
    "behaviour",
    [
        unsigned,
        no_signature,
        wrong_signature,
        another_billot,
        no_rows,
        another_owner,
        anothers_key,
    ],
)
def test_only_a_signed_answer_to_the_question_counts(tmp_path, behaviour):
    async def scenario():
        async with running(2) as servers:
            servers[1].behaviour["who_owns"] = behaviour
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert (check.verdict, check.tally.votes, check.tally.n) == (Verdict.UNDECIDED, 1, 2)
            assert check.answers[1].problem is Problem.UNSIGNED
            assert check.answers[1].holding is None

    run(scenario())


def test_an_old_statement_can_not_be_replayed_for_a_new_question(tmp_path):
    async def scenario():
        async with running(2) as servers:
            replayer = servers[1]
            old = []

            def replay(_params, statement):
                old.append(statement)
                return old[0]

            replayer.behaviour["who_owns"] = replay
            assert (await wallet(tmp_path, servers).check_owner("a-1")).verdict is Verdict.OWNER
            for server in servers:
                server.own("a-1", 1, USER1.owner, USER2.owner)
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert (check.verdict, check.tally.votes) == (Verdict.UNDECIDED, 1)
            assert check.answers[1].problem is Problem.UNSIGNED

    run(scenario())


@pytest.mark.parametrize(
    "behaviour",
    [
        lambda *_: b'{"billots": 5}',
        lambda *_: b'"\xff"',
        lambda *_: CLOSE,
        lambda *_: Refuse("rate_limited"),
        lambda *_: Refuse(-32603),
    ],
)
def test_what_is_no_answer_only_costs_its_server_the_vote(tmp_path, behaviour):
    async def scenario():
        async with running(3) as servers:
            servers[0].behaviour["who_owns"] = behaviour
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert check.owner == USER1.owner
            servers[1].behaviour["info"] = behaviour
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert (check.verdict, check.tally.n) == (Verdict.UNDECIDED, 3)

    run(scenario())


def test_entries_with_one_key_are_one_server(tmp_path):
    async def scenario():
        shared = PrivateKey.generate()
        async with running(2, key=shared) as twins, running(2) as (third, fourth):
            servers = [*twins, third, fourth]
            fourth.own("a-1", 0, None, USER3.owner)
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert (check.tally.n, check.tally.needed, check.owner) == (3, 2, USER1.owner)
            third.own("a-1", 0, None, USER3.owner)
            check = await wallet(tmp_path, servers[:3]).check_owner("a-1")
            assert (check.verdict, check.tally.n, check.tally.votes) == (Verdict.UNDECIDED, 2, 1)

    run(scenario())


def test_an_unreachable_entry_with_a_pinned_key_of_another_is_no_server_more(tmp_path):
    async def scenario():
        async with running(1) as servers:
            dead = await dead_host()
            twin = Host(dead.address, dead.port, servers[0].key.public_hex)
            check = await wallet(tmp_path, trusted=[servers[0].host, twin]).check_owner("a-1")
            assert (check.tally.n, check.owner) == (1, USER1.owner)

    run(scenario())


def test_a_pinned_key_that_changed_counts_for_nothing(tmp_path):
    async def scenario():
        async with running(2) as (good, bad):
            pinned = Host(bad.address, bad.port, good.key.public_hex[::-1])
            mine = wallet(tmp_path, trusted=[good.pinned, pinned])
            check = await mine.check_owner("a-1")
            assert (check.verdict, check.tally.n) == (Verdict.UNDECIDED, 2)
            assert check.answers[1].problem is Problem.CHANGED_KEY
            with pytest.raises(ServerKeyChanged):
                await wallet(tmp_path, server=pinned).who_owns("a-1")
            with pytest.raises(ServerKeyChanged):
                await wallet(tmp_path, server=pinned).transfer("a-1", USER2.owner)

    run(scenario())


def test_a_remembered_key_that_changed_counts_for_nothing_until_it_is_accepted(tmp_path):
    async def scenario():
        async with FakeServer(address=ANYWHERE) as first:
            check = await wallet(tmp_path, [first]).check_owner("a-1")
            assert check.owner == USER1.owner
        assert first.host.place in (tmp_path / "known_servers").read_text()
        async with FakeServer(address=ANYWHERE, port=first.port) as second:
            check = await wallet(tmp_path, [second]).check_owner("a-1")
            assert (check.verdict, check.tally.n) == (Verdict.UNDECIDED, 1)
            assert check.answers[0].problem is Problem.CHANGED_KEY
            with pytest.raises(ServerKeyChanged) as caught:
                await wallet(tmp_path, [second]).who_owns("a-1")
            assert caught.value.hint.endswith(f"bwallet --accept-key {second.host.place}")
            KnownServers(tmp_path).accept(second.host, TEST.id, second.key.public_hex)
            check = await wallet(tmp_path, [second]).check_owner("a-1")
            assert check.owner == USER1.owner

    run(scenario())


def test_a_server_on_this_machine_may_come_back_with_a_new_key(tmp_path):
    async def scenario():
        async with FakeServer() as first:
            await wallet(tmp_path, [first]).check_owner("a-1")
        async with FakeServer(port=first.port) as second:
            assert (await wallet(tmp_path, [second]).check_owner("a-1")).owner == USER1.owner
        assert not (tmp_path / "known_servers").exists()

    run(scenario())


def test_a_key_is_not_remembered_for_an_unsigned_claim(tmp_path):
    async def scenario():
        async with FakeServer(address=ANYWHERE) as server:
            server.behaviour["who_owns"] = anothers_key
            await wallet(tmp_path, [server]).check_owner("a-1")
        assert not (tmp_path / "known_servers").exists()

    run(scenario())


# -- networks ----------------------------------------------------------------------------------


def renamed(**changes):
    fields = {"name": "other", "denominations": [], "issuer": TEST.issuer, "allocations": {}}
    fields["denominations"] = [{"prefix": "z-", "value": "7", "circulation": 10}]
    return Network.from_fields({**fields, **changes})


def test_the_network_is_the_shipped_one_that_the_servers_state(tmp_path):
    async def scenario():
        async with running(2) as servers:
            assert (await wallet(tmp_path, servers).check_owner("a-1")).network.id == TEST.id

    run(scenario())


def test_an_unknown_network_needs_its_file(tmp_path):
    async def scenario():
        other = renamed()
        async with running(2, network=other) as servers:
            with pytest.raises(WrongNetwork, match="does not know") as caught:
                await wallet(tmp_path, servers).check_owner("z-1")
            assert "--network FILE" in caught.value.hint
            mine = wallet(tmp_path, servers, network=other, keyfile=MOCK / "mint")
            assert (await mine.check_owner("z-1")).owner == TEST.issuer
            assert (await mine.list_billots()).total_mils == 70_000

    run(scenario())


def test_servers_of_two_networks_are_an_error(tmp_path):
    async def scenario():
        async with running(1) as ours, running(1, network=MAIN) as others:
            with pytest.raises(WrongNetwork):
                await wallet(tmp_path, ours + others).check_owner("a-1")
            with pytest.raises(WrongNetwork, match="does not serve network test"):
                await wallet(tmp_path, others, network=TEST).check_owner("a-1")
            with pytest.raises(WrongNetwork):
                await wallet(tmp_path, others, network=TEST).transfer("a-1", USER2.owner)
            with pytest.raises(WrongNetwork):
                await wallet(tmp_path, others, network=TEST).list_billots()
            with pytest.raises(WrongNetwork):
                await wallet(tmp_path, others, network=TEST).overview()

    run(scenario())


@pytest.mark.parametrize("other", [MAIN, renamed()], ids=["main", "unknown"])
@pytest.mark.parametrize("given", [None, TEST], ids=["stated", "given"])
def test_attack_one_server_of_another_network_stops_no_verb(tmp_path, other, given):
    async def scenario():
        async with running(1, network=other) as liar, running(3) as servers:
            mine = wallet(tmp_path, liar + servers, network=given)
            check = await mine.check_owner("a-1")
            assert (check.owner, check.network.id, check.tally.n) == (USER1.owner, TEST.id, 4)
            assert check.answers[0].problem is Problem.OTHER_NETWORK
            assert (await mine.list_billots()).total_mils == 170_000
            assert (await mine.overview()).answers[0].problem is Problem.OTHER_NETWORK
            sent = await mine.transfer("a-1", USER2.owner)
            assert sent.host in [server.host for server in servers]

    run(scenario())


def test_attack_the_first_to_name_a_network_does_not_choose_it(tmp_path):
    async def scenario():
        async with running(1, network=MAIN) as liar, running(3) as servers:
            asked = asyncio.Event()
            liar[0].behaviour["info"] = lambda _, info: asked.set() or info
            mine = wallet(tmp_path, liar + servers)
            for server in servers:
                server.gate = asked  # honest ones answer only after it
            check = await mine.check_owner("a-1")
            assert (check.owner, check.network.id) == (USER1.owner, TEST.id)

    run(scenario())


@pytest.mark.slow
def test_the_network_of_most_is_taken_when_some_are_silent(tmp_path):
    async def scenario():
        async with running(2) as servers, running(2) as silent:
            for server in silent:
                server.behaviour["info"] = lambda *_: SILENT
            check = await wallet(tmp_path, servers + silent, timeout_s=1.5).check_owner("a-1")
            assert (check.verdict, check.tally.votes) == (Verdict.UNDECIDED, 2)
            assert check.network.id == TEST.id

    run(scenario())


def test_values_and_names_come_from_the_wallets_own_file(tmp_path):
    async def scenario():
        async with running(1) as (server,):
            evil = Info(
                "x\x1b[31m", "y", 1, NetworkName("gold", TEST.id), "0" * 64, 0, 0, [], {}, {}
            )
            server.behaviour["info"] = lambda *_: evil

            def dear(_params, statement):
                return altered(
                    statement, billots=tuple(altered(r, value="1000000") for r in statement.billots)
                )

            server.behaviour["who_owns"] = dear
            listing = await wallet(tmp_path, [server]).list_billots()
            assert listing.network.name == "test"
            assert listing.total_mils == 170_000

    run(scenario())


# -- disputes, and servers that are behind -----------------------------------------------------


def pair(seq=1, first=USER1, second=USER1, to=(USER2.owner, USER3.owner), **changes):
    network = changes.get("network", TEST)
    return [
        Transfer.sign(network, key, owner, [("a-1", seq)])
        for key, owner in zip((first, second), to, strict=True)
    ]


def split(servers):
    """Half of them have USER2, the others USER3."""
    for number, server in enumerate(servers):
        server.own("a-1", 1, USER1.owner, (USER2, USER3)[number % 2].owner, Status.CONTESTED)


def test_a_verified_pair_without_a_quorum_is_a_dispute(tmp_path):
    async def scenario():
        async with running(4) as servers:
            split(servers)
            servers[3].evidence["a-1"] = pair()
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert check.verdict is Verdict.DISPUTED
            assert {check.conflict.first.to, check.conflict.second.to} == {
                USER2.owner,
                USER3.owner,
            }

    run(scenario())


def test_a_quorum_stands_whatever_was_signed_twice(tmp_path):
    async def scenario():
        async with running(4) as servers:
            for server in servers:
                server.own("a-1", 1, USER1.owner, USER2.owner)
                server.evidence["a-1"] = pair()
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert (check.verdict, check.owner) == (Verdict.OWNER, USER2.owner)

    run(scenario())


def test_disagreement_without_proof_is_only_undecided(tmp_path):
    async def scenario():
        async with running(4) as servers:
            split(servers)
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert check.verdict is Verdict.UNDECIDED

    run(scenario())


def test_servers_that_say_disputed_are_believed_if_one_must_be_honest(tmp_path):
    async def scenario():
        async with running(4) as servers:
            split(servers)
            servers[0].own("a-1", 1, USER1.owner, USER2.owner, Status.DISPUTED)
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert check.verdict is Verdict.UNDECIDED
            servers[1].own("a-1", 1, USER1.owner, USER3.owner, Status.DISPUTED)
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert check.verdict is Verdict.DISPUTED

    run(scenario())


def tampered():
    first, second = pair()
    return [first, altered(second, signature=first.signature)]


FORGED = {
    "bad signature": tampered(),
    "a stranger's two signatures": pair(first=MINT, second=MINT),
    "two different signers": pair(second=MINT),
    "the same owner twice": pair(to=(USER2.owner, USER2.owner)),
    "an older seq": pair(seq=0 + 2),
    "another network": pair(network=MAIN),
    "another billot": [
        Transfer.sign(TEST, USER1, to, [("a-2", 1)]) for to in (USER2.owner, USER3.owner)
    ],
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_forged_pair_disputes_nothing(tmp_path, forged):
    async def scenario():
        async with running(4) as servers:
            split(servers)
            for server in servers:
                server.evidence["a-1"] = forged
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert (check.verdict, check.conflict) == (Verdict.UNDECIDED, None)

    run(scenario())


def test_a_liar_that_is_the_signer_itself_frames_nobody(tmp_path):
    async def scenario():
        async with running(4) as servers:
            for server in servers[1:3]:
                server.own("a-1", 1, USER1.owner, USER2.owner)
            servers[0].own("a-1", 7, MINT.owner, USER3.owner)
            servers[0].evidence["a-1"] = pair(seq=7, first=MINT, second=MINT)
            servers[3].behaviour["who_owns"] = lambda *_: CLOSE
            check = await wallet(tmp_path, servers).check_owner("a-1")
            assert check.verdict is Verdict.UNDECIDED

    run(scenario())


@pytest.mark.parametrize("first_word", [Holding(0, None, USER1.owner, Status.SETTLED), UNKNOWN])
def test_a_server_that_is_behind_is_asked_again(tmp_path, first_word):
    async def scenario():
        async with running(2) as (ahead, behind):
            ahead.own("a-1", 1, USER1.owner, USER2.owner)
            behind.holdings["a-1"] = first_word

            def catch_up(params, statement):
                if len(behind.asked("who_owns")) == 2:
                    behind.own("a-1", 1, USER1.owner, USER2.owner)
                    return behind.statement(params.billots, params.nonce)
                return statement

            behind.behaviour["who_owns"] = catch_up
            check = await wallet(tmp_path, [ahead, behind]).check_owner("a-1")
            assert check.owner == USER2.owner
            assert len(ahead.asked("who_owns")) == 1

    run(scenario())


def test_who_stays_behind_is_undecided_before_time_is_up(tmp_path):
    async def scenario():
        async with running(2) as (ahead, behind):
            ahead.own("a-1", 1, USER1.owner, USER2.owner)
            mine = wallet(tmp_path, [ahead, behind], timeout_s=60.0)
            check = await asyncio.wait_for(mine.check_owner("a-1"), 20)
            assert (check.verdict, check.conflict) == (Verdict.UNDECIDED, None)
            assert 2 <= len(behind.asked("who_owns")) <= 8

    run(scenario())


# -- lists -------------------------------------------------------------------------------------


def test_a_list_joins_what_all_name_and_counts_each_billot(tmp_path):
    async def scenario():
        async with running(3) as servers:
            for server in servers:
                server.own("a-5", 1, MINT.owner, USER1.owner)
                server.own("c-1", 1, USER1.owner, USER2.owner)
            servers[0].own("a-9", 1, MINT.owner, USER1.owner)  # a lie, or the first to know
            servers[1].behaviour["list"] = lambda *_: Listed([], [], None)
            counted = []
            mine = wallet(tmp_path, servers)
            listing = await mine.list_billots(on_progress=lambda *at: counted.append(at))
            assert [billot.id for billot in listing.billots] == ["a-1", "a-5", "b-1"]
            assert [billot.id for billot in listing.undecided] == []
            assert listing.total_mils == 250_000
            assert listing.unmoved == ()
            assert counted[-2:] == [(5, 5), (1, 1)], "votes, then new receipts"
            servers[1].own("a-9", 2, USER1.owner, USER2.owner)
            servers[2].holdings["a-9"] = UNKNOWN
            listing = await mine.list_billots()
            assert [billot.id for billot in listing.undecided] == ["a-9"]
            assert listing.total_mils == 250_000

    run(scenario())


@pytest.mark.slow
def test_a_list_waits_once_for_servers_that_do_not_answer(tmp_path):
    async def scenario():
        async with running(4) as servers:
            for server in servers[2:]:
                server.behaviour["info"] = lambda *_: SILENT
            listing = await wallet(tmp_path, servers, timeout_s=0.5).list_billots()
            assert [billot.id for billot in listing.undecided] == ["a-1", "b-1", "c-1"]
            assert [len(server.asked("info")) for server in servers] == [1, 1, 1, 1]
            problems = [answer.problem for answer in listing.answers]
            assert problems == [None, None, Problem.SILENT, Problem.SILENT]

    run(scenario())


def test_a_list_of_several_pages_and_questions(tmp_path):
    async def scenario():
        async with running(2) as servers:
            for server in servers:
                for number in range(2, 2503):
                    server.own(f"k-{number}", 1, MINT.owner, USER2.owner)
            mine = wallet(tmp_path, servers, keyfile=MOCK / "user2")
            listing = await mine.list_billots()
            assert len(listing.billots) == 2501 + 3
            assert listing.total_mils == 16_000 + 2501 * 5
            assert all(len(server.asked("list")) == 3 for server in servers)
            large = [[p for p in s.asked("who_owns") if len(p.billots) > 16] for s in servers]
            assert [len(questions) for questions in large] == [10, 10]

    run(scenario())


def test_the_issuers_millions_stay_ranges_that_a_quorum_names(tmp_path):
    async def scenario():
        async with running(3) as servers:
            for server in servers:
                server.own("a-5", 1, MINT.owner, USER1.owner)
                server.own("a-2000", 3, USER1.owner, MINT.owner)
            liar = [UnmovedRange("a-", 1, 10**12), UnmovedRange("zz-", 1, 5)]
            servers[2].behaviour["list"] = lambda *_: Listed([], liar, None)
            listing = await wallet(tmp_path, servers, keyfile=MOCK / "mint").list_billots()
            assert [b.id for b in listing.billots] == ["a-2", "a-3", "a-4", "a-2000"]
            assert [(r.first, r.last) for r in listing.unmoved if r.prefix == "a-"] == [
                (6, 1999),
                (2001, 10_000),
            ]
            others = 100_000 + 50_000 + 20_000 + 10_000 + 5_000 + 1_000 + 250 + 100 + 50
            assert listing.total_mils == 10_150_000_000 - others - 100_000

    run(scenario())


def test_a_list_without_an_end_costs_only_its_server(tmp_path):
    async def scenario():
        async with running(3) as servers:
            servers[0].behaviour["list"] = lambda *_: Listed([], [], "again")
            listing = await wallet(tmp_path, servers).list_billots()
            assert listing.total_mils == 170_000
        dead = [await dead_host()]
        with pytest.raises(Unreachable):
            await wallet(tmp_path, trusted=dead).list_billots()

    run(scenario())


def test_a_list_of_somebody_else_needs_no_key(tmp_path):
    async def scenario():
        async with running() as servers:
            mine = wallet(tmp_path, servers, keyfile=tmp_path / "none")
            assert (await mine.list_billots(USER3.owner)).total_mils == 400
            assert (await mine.list_billots("0" * 128)).billots == ()
            with pytest.raises(OwnerIdError):
                await mine.list_billots("me")
            with pytest.raises(KeyFileError):
                await mine.list_billots()

    run(scenario())


# -- sending -----------------------------------------------------------------------------------


def test_a_transfer_is_signed_journalled_and_accepted(tmp_path):
    async def scenario():
        async with running() as (server,):
            sent = await wallet(tmp_path, server=server.host).transfer("c-1, a-1", USER2.owner)
            assert sent.transfer.billots == (("a-1", 1), ("c-1", 1))
            assert sent.transfer.verify()
            assert (sent.host, sent.resent, sent.lapsed) == (server.host, False, ())
            assert server.holding("a-1").owner == USER2.owner
            with Journal.open(USER1.owner, tmp_path) as journal:
                (entry,) = journal.find(TEST.id, sent.transfer.billots)
            assert entry.transfer == sent.transfer
            assert entry.servers == {server.key.public_hex}
            assert entry.answered
            back = wallet(tmp_path, [server], keyfile=MOCK / "user2")
            assert (await back.transfer(["a-1"], USER1.owner)).transfer.billots == (("a-1", 2),)

    run(scenario())


def test_a_transfer_moves_up_to_256_billots(tmp_path):
    async def scenario():
        async with running(3) as servers:
            billots = [f"k-{number}" for number in range(1_000_001, 1_000_257)]
            mine = wallet(tmp_path, servers, keyfile=MOCK / "mint")
            sent = await mine.transfer(billots, USER1.owner)
            assert [billot for billot, _ in sent.transfer.billots] == billots
            assert len(sent.statement.billots) == 256
            assert (await mine.transfer(reversed(billots), USER1.owner)).resent

    run(scenario())


def test_the_journal_has_it_before_the_server_does(tmp_path):
    async def scenario():
        async with running() as (server,):
            found = []

            def look(params, default):
                with Journal.open(USER1.owner, tmp_path) as journal:
                    found.extend(journal.find(TEST.id, params.billots))
                return default

            server.behaviour["transfer"] = look
            sent = await wallet(tmp_path, [server]).transfer("a-1", USER2.owner)
            assert [entry.transfer for entry in found] == [sent.transfer]

    run(scenario())


def test_what_was_not_answered_is_sent_again_byte_by_byte(tmp_path):
    async def scenario():
        async with running() as (server,):
            server.behaviour["transfer"] = lambda *_: CLOSE
            mine = wallet(tmp_path, [server])
            with pytest.raises(Unreachable, match="it is signed and kept") as caught:
                await mine.transfer("a-1,b-1", USER2.owner)
            assert "sends it again" in caught.value.hint
            del server.behaviour["transfer"]
            sent = await mine.transfer("b-1,a-1", USER2.owner)
            assert sent.resent
            again = await mine.transfer("a-1,b-1", USER2.owner)
            assert again.resent
            assert len(server.transfers) == 3
            assert len(set(server.transfers)) == 1

    run(scenario())


def lose_transfers(server):
    """Have it end the connection before a transfer is taken."""

    def lose(*_):
        server.holdings.clear()
        return CLOSE

    server.behaviour["transfer"] = lose


def test_a_second_owner_is_never_signed(tmp_path):
    async def scenario():
        async with running(2) as servers:
            for server in servers:
                lose_transfers(server)
            mine = wallet(tmp_path, servers, command="bwallet --keyfile mine")
            with pytest.raises(Unreachable):
                await mine.transfer("a-1,b-1", USER2.owner)
            for server in servers:
                del server.behaviour["transfer"]
            with pytest.raises(AlreadySigned, match=USER2.owner) as caught:
                await mine.transfer("b-1", USER3.owner)
            assert caught.value.hint == (
                f"bwallet --keyfile mine --transfer a-1,b-1 {USER2.owner} sends that one again"
            )
            assert len(servers[0].transfers) == len(servers[1].transfers) == 1
            await mine.transfer("c-1", USER3.owner)
            await mine.transfer("b-1", USER2.owner)

    run(scenario())


def test_two_wallets_at_once_never_sign_two_owners(tmp_path):
    async def scenario():
        async with running() as (server,):
            lose_transfers(server)
            owners = [str(number) * 128 for number in range(8)]
            tries = (wallet(tmp_path, [server]).transfer("a-1", owner) for owner in owners)
            outcomes = await asyncio.gather(*tries, return_exceptions=True)
            kinds = sorted(type(outcome).__name__ for outcome in outcomes)
            assert kinds == ["AlreadySigned"] * 7 + ["Unreachable"]
            assert len(set(server.transfers)) == 1

    run(scenario())


def test_an_entry_lapses_when_all_who_knew_of_it_are_gone(tmp_path):
    async def scenario():
        async with running(2) as servers:
            first = await wallet(tmp_path, servers).transfer("a-1", USER2.owner)
        async with running(2) as servers:
            sent = await wallet(tmp_path, servers).transfer("a-1", USER3.owner)
            assert sent.lapsed == (first.transfer,)
            assert sent.transfer.to == USER3.owner

    run(scenario())


def test_attack_on_a_currency_of_ones_own_nothing_lapses_here_either(tmp_path):
    """A server on this machine that is only down keeps what it took, and it may be money."""
    club = Network("club", TEST.denominations, TEST.issuer, TEST.allocations)

    async def scenario():
        async with FakeServer(club) as server:
            first = wallet(tmp_path, [server], network=club)
            await first.transfer("a-1", USER2.owner)
        async with FakeServer(club) as server:
            with pytest.raises(AlreadySigned):
                await wallet(tmp_path, [server], network=club).transfer("a-1", USER3.owner)
            assert not server.transfers

    run(scenario())


def test_attack_an_owner_is_not_made_a_double_spender_by_servers_that_are_only_down(tmp_path):
    """Off this machine nothing lapses: who took it may only be down, and come back with it."""

    async def scenario():
        def elsewhere(server):  # a spelling of loopback that counts as another machine
            return Host("127.1", server.port)

        async with running() as (server,):
            first = wallet(tmp_path, trusted=[elsewhere(server)])
            await first.transfer("a-1", USER2.owner)
        async with running() as (server,):
            with pytest.raises(AlreadySigned):
                await wallet(tmp_path, trusted=[elsewhere(server)]).transfer("a-1", USER3.owner)
            assert not server.transfers

    run(scenario())


def test_an_entry_stands_while_one_who_knew_of_it_answers(tmp_path):
    async def scenario():
        async with running(4) as servers:
            await wallet(tmp_path, servers, quorum="4").transfer("a-1", USER2.owner)
            for server in servers:
                server.holdings.clear()
            async with running(3) as fresh:
                mixed = [*fresh, servers[3]]
                with pytest.raises(AlreadySigned):  # though one fresh answer is a quorum
                    await wallet(tmp_path, mixed, quorum="1").transfer("a-1", USER3.owner)

    run(scenario())


def test_what_is_not_ours_is_refused_before_it_is_signed(tmp_path):
    async def scenario():
        async with running(network=MAIN) as main, running() as (server,):
            mine = wallet(tmp_path, [server])
            with pytest.raises(Refused, match=f"d-1 is not yours: its owner is {USER2.owner}"):
                await mine.transfer("a-1,d-1", USER3.owner)
            with pytest.raises(Refused, match="a-1 is unissued"):
                await wallet(tmp_path, main).transfer("a-1", USER3.owner)
            server.holdings["a-1"] = UNKNOWN
            with pytest.raises(Refused, match="can't speak for a-1 yet"):
                await mine.transfer("a-1", USER3.owner)
            assert server.transfers == main[0].transfers == []

    run(scenario())


@pytest.mark.parametrize(
    ("billots", "to", "error"),
    [
        ("a-1", "me", OwnerIdError),
        ("a-1", USER2.owner.upper(), OwnerIdError),
        ("a-01", USER2.owner, BillotIdError),
        ("a-10001", USER2.owner, BillotIdError),
        ("a-1,a-1", USER2.owner, InputError),
        ("", USER2.owner, InputError),
        ([f"k-{n}" for n in range(1, 258)], USER2.owner, InputError),
    ],
)
def test_what_can_not_be_a_transfer_is_an_input_error(tmp_path, billots, to, error):
    async def scenario():
        async with running() as (server,):
            with pytest.raises(error):
                await wallet(tmp_path, [server]).transfer(billots, to)
            assert server.transfers == []

    run(scenario())


def test_the_others_are_tried_when_the_server_can_not_be_reached(tmp_path):
    async def scenario():
        async with running(2) as (first, second):
            dead = await dead_host()
            mine = wallet(tmp_path, [first, second], server=dead)
            assert (await mine.transfer("a-1", USER2.owner)).host == first.host
            assert second.transfers == []
            first.behaviour["transfer"] = lambda *_: CLOSE
            sent = await mine.transfer("b-1", USER2.owner)
            assert sent.host == second.host
            assert first.transfers[-1] == second.transfers[-1]
            busy = wallet(tmp_path, [first, second])
            first.behaviour["transfer"] = lambda *_: Refuse("rate_limited")
            assert (await busy.transfer("c-1", USER2.owner)).host == second.host

    run(scenario())


def test_the_server_need_not_be_trusted_and_has_no_vote(tmp_path):
    async def scenario():
        async with running(3) as (server, *trusted):
            server.own("a-1", 5, USER2.owner, USER1.owner)
            server.behaviour["transfer"] = lambda *_: Refuse("stale_seq", {"billot": "a-1"})
            with pytest.raises(Refused):
                await wallet(tmp_path, trusted, server=server.host).transfer("a-1", USER2.owner)
            assert b'["a-1",1]' in server.transfers[0]

    run(scenario())


def test_without_a_quorum_what_most_say_is_signed_for(tmp_path):
    async def scenario():
        async with running(2) as servers:
            for server in servers:
                server.own("a-1", 2, USER2.owner, USER1.owner)
            hosts = [*(server.host for server in servers), await dead_host(), await dead_host()]
            mine = wallet(tmp_path, trusted=hosts, timeout_s=0.5)
            assert (await mine.transfer("a-1", USER2.owner)).transfer.billots == (("a-1", 3),)

    run(scenario())


def test_attack_a_liar_does_not_have_a_seq_signed_that_is_still_to_come(tmp_path):
    """Signed now, it would take the billot away whenever it is back at that seq."""

    async def scenario():
        async with running(3) as (liar, *honest):
            liar.own("a-1", 6, USER2.owner, USER1.owner)
            for server in honest:
                server.own("a-1", 4, USER2.owner, USER1.owner)
            down = await dead_host()
            hosts = [liar.host, *(server.host for server in honest), down]
            mine = wallet(tmp_path, server=liar.host, trusted=hosts, timeout_s=0.5)
            with contextlib.suppress(ProtocolError, Refused, Unreachable):
                await mine.transfer("a-1", USER2.owner)
            signed = [transfer for server in (liar, *honest) for transfer in server.transfers]
            assert signed
            assert all(b'["a-1",5]' in transfer for transfer in signed)
            two = wallet(tmp_path, trusted=[liar.host, honest[0].host], timeout_s=0.5)
            with pytest.raises(Refused) as caught:
                await two.transfer("a-1", USER3.owner)
            assert caught.value.name == "not_settled"

    run(scenario())


def lie_about(**changes):
    return lambda _params, accepted: altered(accepted, **changes)


@pytest.mark.parametrize(
    "behaviour",
    [
        lie_about(accepted=False),
        lie_about(transfer_id="0" * 64),
        lambda params, accepted: altered(
            accepted, statement=no_signature(params, accepted.statement)
        ),
        lambda params, accepted: altered(
            accepted, statement=anothers_key(params, accepted.statement)
        ),
        lambda *_: b"true",
    ],
)
def test_an_acceptance_must_be_signed_and_about_this_transfer(tmp_path, behaviour):
    async def scenario():
        async with running() as (server,):
            server.behaviour["transfer"] = behaviour
            with pytest.raises(Unreachable, match="no server took the transfer"):
                await wallet(tmp_path, [server]).transfer("a-1", USER2.owner)

    run(scenario())


def test_an_acceptance_that_its_own_statement_contradicts_is_none(tmp_path):
    async def scenario():
        async with running() as (server,):

            def forget(params, accepted):
                server.holdings.clear()
                return altered(accepted, statement=server.statement(("a-1",), params.nonce))

            server.behaviour["transfer"] = forget
            with pytest.raises(Unreachable):
                await wallet(tmp_path, [server]).transfer("a-1", USER2.owner)

    run(scenario())


EVIL = "\x1b[2Jgo to http://evil.example \x07\r\n"


@pytest.mark.parametrize("name", [*APPLICATION_ERRORS, -32602, -32603, -1])
@pytest.mark.parametrize(
    "data",
    [
        {},
        {"billot": "a-1", "holding": Holding(4, USER1.owner, USER3.owner, Status.SETTLED)},
        {"billot": EVIL, "holding": EVIL, "error": EVIL},
        {"billot": ["a-1"], "holding": {"seq": -1, "owner": EVIL}},
    ],
)
def test_every_refusal_is_told_in_our_words(tmp_path, name, data):
    async def scenario():
        async with running() as (server,):
            server.behaviour["transfer"] = lambda *_: Refuse(name, data, EVIL)
            with pytest.raises(Refused) as caught:
                await wallet(tmp_path, [server]).transfer("a-1", USER2.owner)
            error = caught.value
            told = f"{error} {error.hint} {error.data}"
            assert told.isprintable()
            assert "evil" not in told
            assert str(error)[0].islower() or str(error).startswith("a-1")
            assert error.name == (name if isinstance(name, str) else None)
            if name == "stale_seq" and isinstance(data.get("holding"), Holding):
                assert USER3.owner in str(error)
            with Journal.open(USER1.owner, tmp_path) as journal:
                assert journal.find(TEST.id, [("a-1", 1)])[0].answered

    run(scenario())


def test_a_server_that_can_not_speak_for_a_billot_yet_is_said_to_be_new(tmp_path):
    async def scenario():
        async with running() as (server,):
            mine = wallet(tmp_path, [server])
            server.behaviour["transfer"] = lambda *_: Refuse("not_settled", {"billot": "a-1"})
            with pytest.raises(Refused, match="can't speak for a-1 yet") as caught:
                await mine.transfer("a-1", USER2.owner)
            assert caught.value.name == "not_settled"
            server.holdings["b-1"] = UNKNOWN
            with pytest.raises(Refused, match="can't speak for b-1 yet"):
                await mine.transfer("b-1", USER2.owner)
            server.own("c-1", 1, USER2.owner, USER1.owner)
            server.behaviour["transfer"] = lambda *_: Refuse("not_settled", {"billot": "c-1"})
            with pytest.raises(Refused, match="c-1 is not settled yet"):
                await mine.transfer("c-1", USER2.owner)

    run(scenario())


def test_a_key_or_a_journal_that_can_not_be_used_stops_it_before_anything_is_sent(tmp_path):
    async def scenario():
        async with running() as (server,):
            with pytest.raises(KeyFileError):
                await wallet(tmp_path, [server], keyfile=tmp_path / "none").transfer(
                    "a-1", USER2.owner
                )
            (tmp_path / "file").touch()
            with pytest.raises(JournalError):
                await wallet(tmp_path / "file", [server]).transfer("a-1", USER2.owner)
            with (
                Journal.open(USER1.owner, tmp_path),
                pytest.raises(JournalError, match="another process"),
            ):
                await wallet(tmp_path, [server], timeout_s=0.1).transfer("a-1", USER2.owner)
            assert server.transfers == []

    run(scenario())


@pytest.mark.parametrize("name", ["rate_limited", -32603])
@pytest.mark.parametrize(
    ("method", "verb"),
    [
        ("info", lambda mine: mine.who_owns("a-1")),
        ("who_owns", lambda mine: mine.who_owns("a-1")),
        ("list", lambda mine: mine.list_billots()),
        ("who_owns", lambda mine: mine.transfer("a-1", USER2.owner)),
    ],
)
def test_no_text_of_a_server_is_in_any_error(tmp_path, method, verb, name):
    async def scenario():
        async with running() as (server,):
            server.behaviour[method] = lambda *_: Refuse(name, {}, EVIL)
            with pytest.raises((Refused, Unreachable)) as caught:
                await verb(wallet(tmp_path, [server]))
            assert str(caught.value).isprintable()
            assert "evil" not in f"{caught.value} {caught.value.hint}"

    run(scenario())


# -- where one is ------------------------------------------------------------------------------


def test_the_overview_tells_who_answers(tmp_path):
    async def scenario():
        async with running(2) as servers:
            servers[1].behaviour["who_owns"] = unsigned
            hosts = [*(server.host for server in servers), await dead_host()]
            seen = await wallet(tmp_path, trusted=hosts).overview()
            assert (seen.owner, seen.network.name) == (USER1.owner, "test")
            problems = [answer.problem for answer in seen.answers]
            assert problems == [None, Problem.UNSIGNED, Problem.UNREACHABLE]
            assert (seen.needed, seen.n) == (2, 3)
        seen = await wallet(tmp_path, trusted=hosts, keyfile=tmp_path / "none").overview()
        assert (seen.owner, seen.network) == (None, None)

    run(scenario())
