"""The wallet's end of a connection to a change server; what that refuses, in our words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from billots.change_wire import NAMES, PROTOCOL, Drop, Dropped, Info
from billots.connection import Client
from billots.errors import ProtocolError, Refused, ServerKeyChanged, WrongNetwork
from billots.host import Host
from billots.network import Network
from billots.quote import Quote

_WORDS = {
    "float_exhausted": "the change server has not enough notes free now",
    "already_quoted": "a quote for one of these billots holds still",
    "rate_limited": "the change server gives this address no more quotes for now",
    "not_yours": "the change server's own servers don't say that these billots are yours",
    "not_equal": "the change server reckons otherwise",
    "not_final": "the change server does not see the transfer as final yet",
    "unknown_quote": "the change server does not know its own quote any more",
    "wrong_transfer": "the change server says that the transfer does not pay its quote",
    "unavailable": "the change server can't go on now",
}


class Teller:
    """The wallet's end of a connection to one change server."""

    def __init__(self, client: Client, info: Info) -> None:
        self.client = client
        self.info = info

    @classmethod
    async def connect(cls, host: Host, network: Network, timeout_s: float) -> Teller:
        """Connect and ask who it is.

        Raises Unreachable, ProtocolError, WrongNetwork, or ServerKeyChanged if `host` is pinned.
        """
        client = await Client.connect(host, timeout_s=timeout_s)
        try:
            info = await client.call("info", None, Info, timeout_s=timeout_s)
        except (Refused, ProtocolError) as error:
            client.abort()
            raise ProtocolError(f"{host.place} is no change server") from error
        except BaseException:
            client.abort()
            raise
        if info.protocol != PROTOCOL:
            client.abort()
            raise ProtocolError(f"{host.place} speaks another protocol")
        if info.network.id != network.id:
            client.abort()
            raise WrongNetwork(f"the change server {host.place} does not serve {network.name}")
        if host.key not in (None, info.server):
            client.abort()
            raise ServerKeyChanged(f"{host.place} shows another key than the one it is pinned to")
        return cls(client, info)

    async def call(self, method: str, params: Any, result: type[Any], timeout_s: float) -> Any:
        """Call a method; raises Refused in our words, Unreachable, ProtocolError."""
        try:
            return await self.client.call(method, params, result, timeout_s=timeout_s)
        except Refused as error:
            name = NAMES.get(error.code)
            told = _WORDS.get(name or "", f"the change server answered with error {error.code}")
            raise Refused(error.code, told, name) from None

    async def drop(self, quotes: Iterable[Quote], timeout_s: float) -> None:
        """Say that these won't be paid, so that their notes are free again; raises as `call`."""
        for quote in quotes:
            await self.call("drop", Drop(quote), Dropped, timeout_s)
