"""Change servers for tests: real ones, in this process, over real servers; and liars."""

import contextlib
import itertools
from dataclasses import replace

from servers import MINT, TEST, connect, signed, submit

from billots.change_limits import ChangeLimits
from billots.change_listening import ChangeListener
from billots.change_wire import Info, Offer, Quoted, Redeem, Redeemed
from billots.changing import ChangeServer
from billots.crypto import PrivateKey
from billots.quote import Asking
from billots.transfer import Transfer
from billots.wallet import AsyncWallet

LIMITS = ChangeLimits(final_s=2.0, answer_s=4.0, again_s_max=0.5)
_numbers = itertools.count(1000)
SMALL = {"d-": 4, "e-": 4, "f-": 8, "g-": 8, "h-": 8, "i-": 8}
"""Worth 71.2: 10, 5, 1, 0.25, 0.1 and 0.05."""


def fresh_notes(counts):
    """Ids of the mint's that no other call in this process gets."""
    return [f"{p}{next(_numbers)}" for p, count in counts.items() for _ in range(count)]


async def owner_of(mesh, path, counts):
    """A new key in a file, which owns so many notes of each prefix; its ids."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        PrivateKey.generate().save(path)
    key = PrivateKey.load(path)
    notes = fresh_notes(counts)
    if notes:
        await submit(mesh.hosts[0], signed(MINT, key, *((note, 1) for note in sorted_ids(notes))))
        for note in notes:
            await mesh.settled(note, 1, key)
    return key, notes


def sorted_ids(ids):
    return sorted(ids, key=TEST.check)


@contextlib.asynccontextmanager
async def till(home, mesh, kind=ChangeListener, *, limits=LIMITS, host="127.0.0.1", **settings):
    """A change server that listens, with the key and the files in `home`."""
    more = {"timeout_s": 3.0, "data_dir": home / "data", "trusted": mesh.hosts} | settings
    server = ChangeServer(keyfile=home / "float", limits=limits, **more)
    listener = kind(server, host, 0)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


def place(listener):
    return f"127.0.0.1:{listener.port}"


def wallet(home, mesh, name="key", **more):
    settings = {"keyfile": home / name, "trusted": mesh.hosts, "data_dir": home / "wallet"}
    return AsyncWallet(**(settings | {"timeout_s": 3.0} | more))


class Customer:
    """A customer by hand: each step of an exchange, and none that isn't asked for."""

    def __init__(self, mesh, listener, key, source=None):
        self.mesh, self.key, self.source = mesh, key, source
        self.at = place(listener)
        self.server = listener.server

    async def call(self, method, params, result):
        async with await connect(self.at) as client:
            return await client.call(method, params, result, timeout_s=10)

    async def info(self):
        return await self.call("info", None, Info)

    async def offer(self):
        return dict((await self.call("offer", None, Offer)).billots)

    def asking(self, give, get, **changes):
        settings = {"network": TEST, "server": self.server.key.public_hex, "key": self.key}
        return Asking.sign(**(settings | changes), give=give, get=get)

    async def quote(self, give, get, **changes):
        asked = self.asking(give, get, **changes)
        return (await self.call("quote", asked, Quoted)).quote

    def payment(self, quote):
        return Transfer.sign(TEST, self.key, quote.pay, quote.give)

    async def give(self, quote):
        """Pay a quote, and wait until all servers have it settled."""
        transfer = self.payment(quote)
        await submit(self.mesh.hosts[0], transfer)
        for billot, seq in transfer.billots:
            await self.mesh.settled(billot, seq, quote.pay)
        return transfer

    async def redeem(self, quote, transfer):
        return await self.call("redeem", Redeem(quote, transfer), Redeemed)


def with_limits(**changes):
    return replace(LIMITS, **changes)
