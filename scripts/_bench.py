"""The measurements behind ``scripts/bench``: real servers, real sockets, real disks.

Machines differ and wander, so each figure stands beside one Ed25519 check of the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from billots.connection import Client
from billots.crypto import PrivateKey, verify
from billots.host import Host
from billots.messages import Accepted, SendTransfer, WhoOwns
from billots.mock import mock_key
from billots.network import Network
from billots.statement import Statement
from billots.transfer import Transfer

BIN = Path(sys.executable).parent
NETWORK = Network.shipped("test")
MINT = mock_key("mint")
Figures = dict[str, float]


def check_s() -> float:
    """One signature check: the floor of everything here."""
    key, message = PrivateKey.generate(), b"x" * 250
    signature = key.sign(message)
    times = []
    for _ in range(2000):
        begun = time.perf_counter()
        verify(key.public_key, message, signature)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def one_server(folder: str) -> Iterator[tuple[int, Host]]:
    """A server that trusts nobody: its pid and place."""
    words = [BIN / "bserver", "0", "test", "--data-dir", folder, "--log-level", "error"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        place = server.stdout.readline().split()[-1]
        try:
            yield server.pid, Host.parse(place)
        finally:
            server.terminate()


def transfers(prefix: str, count: int, each: int) -> list[Transfer]:
    """Signed beforehand: `count` transfers of `each` billots that never moved."""
    to = mock_key("user1").owner
    return [
        Transfer.sign(NETWORK, MINT, to, [(f"{prefix}{2 + i * each + j}", 1) for j in range(each)])
        for i in range(count)
    ]


async def load(host: Host, work: list[Transfer], clients: int, window: int) -> float:
    """Seconds that it takes to have all transfers accepted."""
    async with contextlib.AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(await Client.connect(host)) for _ in range(clients)
        ]
        queue = iter(work)

        async def one(client: Client) -> None:
            for transfer in queue:
                await client.call("transfer", SendTransfer.of(transfer), Accepted, timeout_s=60)

        begun = time.perf_counter()
        await asyncio.gather(*(one(client) for client in connections for _ in range(window)))
        return time.perf_counter() - begun


def throughput(check: float) -> Figures:
    """One server alone: CPU and rate of durable transfers."""
    figures: Figures = {}
    for prefix, each, count, clients, window in (
        ("k-", 1, 6000, 8, 32),
        ("j-", 16, 800, 8, 16),
        ("i-", 256, 100, 4, 8),
    ):
        work = transfers(prefix, count, each)
        with tempfile.TemporaryDirectory() as folder, one_server(folder) as (pid, host):
            asyncio.run(load(host, transfers("h-", 200, 1), 4, 8))  # warm
            before = cpu_s(pid)
            seconds = asyncio.run(load(host, work, clients, window))
            cpu = cpu_s(pid) - before
        figures[f"transfers/s of {each}"] = count / seconds
        figures[f"server CPU per billot in transfers of {each}, checks"] = (
            cpu / count / each / check
        )
    return figures


def latency() -> Figures:
    """One client alone, one call at a time."""

    async def run(host: Host) -> Figures:
        async with await Client.connect(host) as client:
            times: dict[str, list[float]] = {"transfer": [], "who_owns": [], "who_owns signed": []}
            for transfer in transfers("k-", 300, 1):
                begun = time.perf_counter()
                await client.call("transfer", SendTransfer.of(transfer), Accepted)
                times["transfer"].append(time.perf_counter() - begun)
            for name, nonce in (("who_owns", None), ("who_owns signed", "00" * 16)):
                for _ in range(500):
                    begun = time.perf_counter()
                    await client.call("who_owns", WhoOwns(("k-2",), nonce), Statement)
                    times[name].append(time.perf_counter() - begun)
        return {f"{name}, ms": statistics.median(t) * 1000 for name, t in times.items()}

    with tempfile.TemporaryDirectory() as folder, one_server(folder) as (_, host):
        return asyncio.run(run(host))


def mesh(base: int, count: int, rounds: int) -> Figures:
    """Servers that trust each other: start, time until all have and settled a transfer."""
    ports = f"{base}-{base + count - 1}"
    words = [BIN / "mock_bservers", "--ports", ports]
    begun = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as servers:
        assert servers.stdout is not None
        try:
            for line in servers.stdout:
                if line.startswith("All"):
                    break
            figures: Figures = {f"{count} servers ready, s": time.perf_counter() - begun}
            hosts = [Host("127.0.0.1", base + i) for i in range(count)]
            figures |= asyncio.run(_spread(hosts, rounds))
            environment = {**os.environ, "XDG_DATA_HOME": tempfile.gettempdir()}
            check = [BIN / "bwallet", "--check-owner", "a-1", "--trusted", f"localhost:{ports}"]
            times = []
            for _ in range(5):
                begun = time.perf_counter()
                subprocess.run(check, env=environment, stdout=subprocess.DEVNULL, check=True)
                times.append(time.perf_counter() - begun)
            figures[f"bwallet --check-owner, {count} servers, s"] = statistics.median(times)
        finally:
            servers.terminate()
    return figures


async def _spread(hosts: list[Host], rounds: int) -> Figures:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await Client.connect(h)) for h in hosts]

        async def until(client: Client, billot: str, *statuses: str) -> float:
            while True:
                statement = await client.call("who_owns", WhoOwns((billot,)), Statement)
                row = statement.billots[0]
                if row.seq == 1 and row.status in statuses:
                    return time.perf_counter()
                await asyncio.sleep(0.002)

        linked = 0
        while linked < len(clients):
            infos = await asyncio.gather(*(c.call("info", None, dict) for c in clients))
            linked = sum(info["counts"]["links_up"] == len(clients) - 1 for info in infos)
            await asyncio.sleep(0.05)
        had, settled = [], []
        for transfer in transfers("k-", rounds, 1):
            billot = transfer.billots[0][0]
            begun = time.perf_counter()
            await clients[0].call("transfer", SendTransfer.of(transfer), Accepted)
            every = [until(c, billot, "held", "settled") for c in clients]
            had.append(max(await asyncio.gather(*every)) - begun)
            ends = await asyncio.gather(*(until(c, billot, "settled") for c in clients))
            settled.append(max(ends) - begun)
    n = len(hosts)
    return {
        f"at all {n} servers, median of {rounds}, ms": statistics.median(had) * 1000,
        f"settled at all {n} servers, median of {rounds}, ms": statistics.median(settled) * 1000,
    }


def start_up() -> Figures:
    """CPU seconds of a command that only hashes a key."""
    with tempfile.TemporaryDirectory() as folder:
        MINT.save(Path(folder) / "key")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(10):
            subprocess.run(
                [BIN / "bwallet", "--hash"], cwd=folder, stdout=subprocess.DEVNULL, check=True
            )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"bwallet --hash, CPU ms": cpu / 10 * 1000}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of the table.")
@click.option("--base-port", default=27333, show_default=True, help="First of the mesh's ports.")
@click.option("--rounds", default=50, show_default=True, help="Transfers timed through a mesh.")
def main(*, as_json: bool, base_port: int, rounds: int) -> None:
    """Measure servers and wallet on this machine; takes about a minute."""
    check = check_s()
    figures: Figures = {"one signature check, us": check * 1e6}
    for part in (
        lambda: throughput(check),
        latency,
        start_up,
        lambda: mesh(base_port, 4, rounds),
        lambda: mesh(base_port + 20, 17, rounds),
    ):
        found = part()
        figures |= found
        if not as_json:
            for name, value in found.items():
                click.echo(f"{name:<55} {value:>12.2f}")
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        click.echo(f"{'one signature check, us':<55} {check * 1e6:>12.2f}")


if __name__ == "__main__":
    main()
