"""Real servers for tests: on TCP, with LevelDB, in this process or in one of their own.

Nothing in here waits for time to pass. What has to become true is asked for, again and again,
within a deadline that only a failing test reaches.
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import billots.mock
from billots.connection import Client
from billots.crypto import PrivateKey
from billots.holding import Status
from billots.host import Host
from billots.messages import Accepted, Info, SendTransfer, WhoOwns
from billots.network import Network
from billots.server import Server
from billots.statement import Statement
from billots.transfer import Transfer

TEST = Network.shipped("test")
MOCK = Path(billots.mock.__file__).parent
USER1, USER2, USER3, MINT = (
    PrivateKey.load(MOCK / name) for name in ("user1", "user2", "user3", "mint")
)
OTHERS = [PrivateKey(bytes([number]) * 32) for number in range(1, 9)]
DEADLINE_S = 20
_given = itertools.count()


def run(coroutine, timeout_s=60):
    """asyncio.run, with an end; on uvloop if BILLOTS_TEST_UVLOOP is set, as `bserver` may be."""
    factory = None
    if os.environ.get("BILLOTS_TEST_UVLOOP"):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(asyncio.wait_for(coroutine, timeout_s))


def free_ports(count):
    """Ports that nobody listens on; they are bound together, so they differ."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]


def signed(key, to, *rows, network=TEST):
    """A transfer of (billot, seq) rows."""
    return Transfer.sign(network, key, to.owner if isinstance(to, PrivateKey) else to, rows)


def fresh(count=1):
    """Billots of the mint that no other call in this process gets."""
    return [f"j-{10_000 + next(_given)}" for _ in range(count)]


# -- in this process ---------------------------------------------------------------------------


class Mesh:
    """Servers that trust each other, each with a store of its own in `folder`."""

    def __init__(self, folder, count, **settings):
        self.folder = folder
        self.ports = free_ports(count)
        self.hosts = [f"127.0.0.1:{port}" for port in self.ports]
        self.servers = {}
        self._settings = settings

    async def start(self, *indexes, **settings):
        for index in indexes or range(len(self.ports)):
            trusted = [host for i, host in enumerate(self.hosts) if i != index]
            server = Server(
                "test",
                port=self.ports[index],
                store=self.folder / f"{index}.db",
                **({"trusted": trusted} | self._settings | settings),
            )
            await server.start()
            self.servers[index] = server
        return [self.servers[index] for index in indexes]

    async def stop(self, *indexes):
        for index in indexes or list(self.servers):
            await self.servers.pop(index).stop()

    async def linked(self, *indexes, links=None):
        """Wait until servers follow all the others, or `links` of them."""
        for index in indexes or list(self.servers):
            await until_info(
                self.servers[index].address,
                lambda info: info.counts["links_up"] >= (links or len(self.servers) - 1),
            )

    async def settled(self, billot, seq, owner, *indexes):
        """Wait until servers have settled this."""
        for index in indexes or list(self.servers):
            await until_settled(self.servers[index].address, billot, seq, owner)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.stop()


@contextlib.asynccontextmanager
async def mesh(folder, count, **settings):
    """A mesh with all links up."""
    async with Mesh(folder, count, **settings) as servers:
        await servers.start()
        await servers.linked()
        yield servers


# -- asking ------------------------------------------------------------------------------------


def connect(address):
    return Client.connect(Host.parse(str(address)))


async def send(client, transfer, nonce=None):
    """Submit a transfer; returns Accepted or raises Refused."""
    return await client.call("transfer", SendTransfer.of(transfer, nonce), Accepted, timeout_s=20)


async def submit(address, *transfers):
    """Submit transfers one after the other to the server at `address`."""
    async with await connect(address) as client:
        return [await send(client, transfer) for transfer in transfers]


async def holdings(client, *billots):
    statement = await client.call("who_owns", WhoOwns(billots), Statement)
    return statement.billots


async def until(ask, holds):
    """Ask until the answer is what is waited for."""
    answer = None
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                answer = await ask()
                if holds(answer):
                    return answer
                await asyncio.sleep(0)
    except TimeoutError:
        raise AssertionError(f"still {answer}") from None


async def until_waiting(process):
    """Wait until a process does nothing but wait: who was shown a question is not asked yet.

    Python looks for signals before it begins to read, and one that comes just then is only
    noticed once something was typed.
    """

    async def state():
        return _state(process.pid)

    await until(state, lambda letter: letter == "S")


def _state(pid):
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]


async def until_info(address, holds):
    async with await connect(address) as client:
        return await until(lambda: client.call("info", None, Info), holds)


async def until_settled(address, billot, seq, owner):
    owner = owner.owner if isinstance(owner, PrivateKey) else owner
    async with await connect(address) as client:
        await until(
            lambda: holdings(client, billot),
            lambda rows: (
                (rows[0].seq, rows[0].owner, rows[0].status) == (seq, owner, Status.SETTLED)
            ),
        )


class Raw:
    """A TCP connection without any protocol of ours: bytes and lines."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, address, source=None):
        host = Host.parse(address)
        local = None if source is None else (source, 0)
        return cls(
            *await asyncio.open_connection(host.address, host.port, local_addr=local, limit=2**20)
        )

    def write(self, *messages):
        self.writer.write(b"".join(message + b"\n" for message in messages))

    async def line(self):
        return json.loads(await self.reader.readuntil(b"\n"))

    async def lines(self, count):
        return [await self.line() for _ in range(count)]

    async def ended(self):
        """Wait until the other side ends the connection; what it said until then."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def request(number, method, **params):
    """The bytes of a request."""
    fields = {"jsonrpc": "2.0", "id": number, "method": method}
    return json.dumps(fields | ({"params": params} if params else {})).encode()


def transfer_request(number, transfer, **more):
    rows = [list(row) for row in transfer.billots]
    fields = {name: getattr(transfer, name) for name in ("network", "to", "public_key")}
    return request(number, "transfer", billots=rows, signature=transfer.signature, **fields, **more)


# -- in a process of its own ---------------------------------------------------------------------


class Process:
    """A `bserver` in a process of its own. Entered, it has said that it listens."""

    def __init__(
        self, folder, *arguments, file_bytes_max=None, files_max=None, port=0, environment=None
    ):
        self.arguments = [str(port), "test", "--data-dir", str(folder), *map(str, arguments)]
        limits = []
        if file_bytes_max is not None:  # a full disk, as far as this process can tell
            limits.append(f"ulimit -f {file_bytes_max // 512}")
        if files_max is not None:
            limits.append(f"ulimit -n {files_max}")
        self._limit = ["sh", "-c", " && ".join([*limits, 'exec "$@"']), "sh"] if limits else []
        self._environment = environment
        self.address = None

    def __enter__(self):
        self._errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [*self._limit, sys.executable, "-m", "billots.cli.bserver", *self.arguments],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **(self._environment or {})},
            text=True,
        )
        self.first = self.process.stdout.readline()
        if self.first.startswith("Listening on "):
            self.address = self.first.removeprefix("Listening on ").strip()
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def end(self, number=None):
        """Wait for its end; returns (exit status, stdout, stderr)."""
        if number is not None:
            self.signal(number)
        out = self.first + self.process.stdout.read()
        status = self.process.wait(30)
        self._errors.seek(0)
        return status, out, self._errors.read()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self._errors.close()
