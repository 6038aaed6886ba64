"""Several servers at one moment: requests that reach them together, and what all of them say."""

import asyncio
import contextlib
import sys

from servers import (
    Process,
    Raw,
    connect,
    free_ports,
    holdings,
    request,
    transfer_request,
    until,
    until_info,
)

from billots.messages import Evidence, Pair

_ASKED_AT_ONCE = 256


def figure(text):
    """A measured figure, for who runs the tests with -s."""
    sys.stderr.write(f"\n    {text}")


def now():
    return asyncio.get_running_loop().time()


async def at_once(bundles):
    """Submit to each address its transfers, all at the same moment; returns the answers.

    `bundles` are (address, transfers); all of a first request but its LF is there before.
    """
    async with contextlib.AsyncExitStack() as stack:
        wires = []
        for address, transfers in bundles:
            raw = await stack.enter_async_context(await Raw.open(address))
            first, *more = [transfer_request(n, transfer) for n, transfer in enumerate(transfers)]
            raw.writer.write(request("there", "ping") + b"\n" + first)
            assert (await raw.line())["id"] == "there"
            wires.append((raw, b"\n".join([b"", *more, b""]), len(transfers)))
        for raw, rest, _ in wires:
            raw.writer.write(rest)
        answers = [await raw.lines(count) for raw, _, count in wires]
    return [sorted(each, key=lambda answer: answer["id"]) for each in answers]


class Four:
    """Four `bserver` processes that trust each other, each with a folder of its own."""

    def __init__(self, folder, **settings):
        self.ports = free_ports(4)
        self.hosts = [f"127.0.0.1:{port}" for port in self.ports]
        self.folders = [folder / str(index) for index in range(4)]
        self.processes = {}
        self._settings = settings

    def start(self, *indexes):
        for index in indexes or range(4):
            self.folders[index].mkdir(exist_ok=True)
            others = ", ".join(host for i, host in enumerate(self.hosts) if i != index)
            process = Process(
                self.folders[index],
                "--trusted",
                others,
                port=self.ports[index],
                **self._settings,
            )
            self.processes[index] = process.__enter__()
            assert process.address is not None, process.end()

    async def linked(self):
        for host in self.hosts:
            await until_info(host, lambda info: info.counts["links_up"] == 3)

    def stop(self, *indexes):
        """Kill them."""
        for index in indexes or list(self.processes):
            self.processes.pop(index).__exit__()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


async def state(address, billots):
    """What one server says of billots: (id, seq, from, owner, status) of each."""
    async with await connect(address) as client:
        return await state_by(client, billots)


async def state_by(client, billots):
    found = []
    for start in range(0, len(billots), _ASKED_AT_ONCE):
        rows = await holdings(client, *billots[start : start + _ASKED_AT_ONCE])
        found += [(row.id, row.seq, row.sender, row.owner, row.status) for row in rows]
    return found


async def until_states(addresses, billots, holds):
    """Wait until what all servers say of the billots is what is waited for; returns it."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await connect(each)) for each in addresses]

        async def ask():
            return await asyncio.gather(*(state_by(client, billots) for client in clients))

        return await until(ask, holds)


async def until_equal(addresses, billots):
    """Wait until all servers say the same, and that it is settled; returns what they say."""

    def holds(states):
        same = all(state == states[0] for state in states)
        return same and {row[-1] for row in states[0]} == {"settled"}

    return (await until_states(addresses, billots, holds))[0]


async def evidence(addresses, billot):
    """The ids of the two transfers that each server shows of a double spend."""
    pairs = []
    for address in addresses:
        async with await connect(address) as client:
            pair = await until(
                lambda client=client: client.call("evidence", Evidence(billot), Pair | None),
                lambda pair: pair is not None,
            )
            pairs.append({pair.first.id, pair.second.id})
    return pairs
