"""Lines that were bent at random, from strangers and from a trusted server: nothing gives way.

The seeds are fixed. What counts is that both servers judge on afterwards: an error that got as
far as the engine would have ended it.
"""

import asyncio
import random

import pytest
from servers import (
    MINT,
    OTHERS,
    TEST,
    USER1,
    USER2,
    Raw,
    fresh,
    mesh,
    request,
    run,
    signed,
    submit,
    transfer_request,
)

from billots.crypto import PrivateKey

PIECES = [
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"{}", b"-1", b"0.0"),
    *(b"1e999", b"9" * 400, b"\\ud800", b"\\u0000", b"\xff", b'"id":1,', b"9007199254740993"),
]
WORDS = [b"a-1", b"test", b"ping", b"transfer", b"first", b"since", b"0", b"1", b"2.0"]


def bent(chance, line):
    """The line with a few bytes changed, lost, doubled or put in."""
    raw = bytearray(line)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(raw) + 1)
        match chance.randrange(5):
            case 0:
                raw[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                raw[at:at] = chance.choice(PIECES)
            case 2:
                del raw[at : at + chance.randrange(1, 10)]
            case 3:
                raw[at:at] = raw[at : at + chance.randrange(60)]
            case _:
                raw = raw.replace(chance.choice(WORDS), chance.choice(PIECES + WORDS), 1)
    return bytes(raw).replace(b"\n", b"")


def fields(transfer):
    return {
        "network": TEST.id,
        "to": transfer.to,
        "billots": transfer.billots,
        "public_key": transfer.public_key,
        "signature": transfer.signature,
    }


def requests(chance):
    """One of each method, with params that are good."""
    billots = fresh(3)
    good = signed(MINT, chance.choice([USER1, USER2]), *((billot, 1) for billot in billots))
    other = signed(MINT, OTHERS[0], (billots[0], 1))
    key, nonce = PrivateKey(bytes(32)).public_hex, "0a" * 16
    return [
        request(1, "info"),
        request(2, "who_owns", billots=["a-1", *billots], nonce=nonce, proof=True, consult=True),
        transfer_request(3, good),
        transfer_request(4, other, nonce=nonce, receipts=[{}]),
        request(5, "list", owner=MINT.owner, cursor="u:a-5", limit=3),
        request(6, "list", owner=MINT.owner, cursor="m:j-10001"),
        request(7, "hosts"),
        request(8, "announce", port=chance.randrange(1, 65536), key=key),
        request(9, "changes", since=0, limit=10),
        request(10, "subscribe", since={"key": key, "lsn": 3}, me=key),
        request(11, "subscribe", owner=USER1.owner),
        request(12, "fetch", transfer_ids=[good.id]),
        request(13, "conflict", first=fields(good), second=fields(other)),
        request(14, "evidence", billot=billots[0]),
        request(15, "settle", receipts=[{"transfer": fields(good), "votes": []}]),
        b"[" + request(16, "ping") + b"," + transfer_request(17, other) + b"]",
    ]


@pytest.mark.parametrize(
    ("seed", "rounds"), [(1, 3), *(pytest.param(n, 40, marks=pytest.mark.slow) for n in (2, 3))]
)
def test_attack_bent_lines_end_nothing(tmp_path, seed, rounds):
    chance = random.Random(seed)

    async def pester(address):
        async with await Raw.open(address) as raw:
            for _ in range(200):
                line = chance.choice(requests(chance))
                raw.write(line if chance.random() < 0.3 else bent(chance, line))
            raw.write(request("end", "ping"))
            while True:
                answer = await raw.line()
                if isinstance(answer, dict) and answer.get("id") == "end":
                    return

    async def main():
        async with mesh(tmp_path, 2) as servers:
            for _ in range(rounds):
                addresses = [server.address for server in servers.servers.values()]
                await asyncio.gather(*map(pester, addresses))
            (billot,) = fresh()
            await submit(servers.servers[0].address, signed(MINT, USER1, (billot, 1)))
            await servers.settled(billot, 1, USER1)

    run(main())
