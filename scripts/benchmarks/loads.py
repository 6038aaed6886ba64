"""Transfers signed beforehand, and clients that send them as fast as they are answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from billots.connection import Client
from billots.crypto import PrivateKey
from billots.host import Host
from billots.messages import Accepted, SendTransfer
from billots.mock import mock_key
from billots.network import Network
from billots.transfer import Transfer

NETWORK = Network.shipped("test")
MINT, USER = mock_key("mint"), mock_key("user1")


def transfers(
    prefix: str, count: int, each: int = 1, *, first: int = 2, to: str = USER.owner
) -> list[Transfer]:
    """`count` transfers of `each` billots that never moved, numbers from `first` on."""
    return [
        Transfer.sign(
            NETWORK, MINT, to, [(f"{prefix}{first + i * each + j}", 1) for j in range(each)]
        )
        for i in range(count)
    ]


def moved_on(before: Sequence[Transfer], key: PrivateKey, to: str) -> list[Transfer]:
    """The next move of the same billots, by their new owner."""
    return [
        Transfer.sign(NETWORK, key, to, [(billot, seq + 1) for billot, seq in transfer.billots])
        for transfer in before
    ]


async def connected(stack: contextlib.AsyncExitStack, hosts: Sequence[Host]) -> list[Client]:
    """A connection to each."""
    return [await stack.enter_async_context(await Client.connect(host)) for host in hosts]


async def send_all(clients: Sequence[Client], work: Sequence[Transfer], window: int) -> list[float]:
    """Have all accepted, each client with `window` on their way; the seconds each took."""
    queue, took = iter(work), []

    async def one(client: Client) -> None:
        for transfer in queue:
            begun = time.perf_counter()
            await client.call("transfer", SendTransfer.of(transfer), Accepted, timeout_s=60)
            took.append(time.perf_counter() - begun)

    await asyncio.gather(*(one(client) for client in clients for _ in range(window)))
    return took
