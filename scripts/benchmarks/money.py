"""Money handed out and counted: an issuer, and a purse to pay from."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure, Table
from benchmarks.loads import MINT
from benchmarks.servers import mesh
from benchmarks.stores import MILLION, Told
from billots import AsyncWallet
from billots.crypto import PrivateKey
from billots.host import Host
from billots.mint import AsyncMint
from billots.network import Network
from billots.purse import choose
from billots.supply import SupplyReport

_AUDIT_BAR_S = {MILLION: 120.0}
_PURSE = {"k": 3000, "j": 3000, "h": 2000, "f": 1500, "d": 500}
"""A purse of 10,000 billots, by the letters of their denominations."""
_TIMES = 20


def supply(base: int, count: int, told: Told) -> Table:
    """Issue `count` billots at three servers, and count the whole supply."""
    with mesh(base, 3) as servers, tempfile.TemporaryDirectory() as folder:
        issued_s, counted_s, report = asyncio.run(
            _issued_and_counted(servers.hosts, Path(folder), count, told)
        )
    assert report.is_exact
    assert report.billots("issued") == count
    return Table(
        f"An issuer and 3 servers, {count:,} billots",
        (
            Figure("issued and final, 256 with each signature", issued_s, "s"),
            Figure("the whole supply counted", counted_s, "s", None, _AUDIT_BAR_S.get(count)),
            Figure("  a moved billot", counted_s / count * 1e6, "us"),
        ),
    )


async def _issued_and_counted(
    hosts: Sequence[Host], folder: Path, count: int, told: Told
) -> tuple[float, float, SupplyReport]:
    mint = AsyncMint(keyfile=_key(folder), trusted=[h.place for h in hosts], data_dir=folder)
    begun = time.perf_counter()
    issued = await mint.issue(
        f"k-1000..k-{999 + count}", "1" * 128, on_progress=lambda *at: told("issuing", *at)
    )
    assert getattr(issued, "is_final", False)
    issued_s = time.perf_counter() - begun
    begun = time.perf_counter()
    report = await mint.audit(lambda *at: told("counting", *at))
    return issued_s, time.perf_counter() - begun, report


def paying(base: int) -> Table:
    """Paying from a purse of 10,000 billots: choosing alone, and with asking three servers."""
    with mesh(base, 3) as servers, tempfile.TemporaryDirectory() as folder:
        listed_s, paid_s = asyncio.run(_paid(servers.hosts, Path(folder)))
    values = Network.shipped("test").denominations
    purse = {values[f"{letters}-"].mils: number for letters, number in _PURSE.items()}
    begun = time.perf_counter()
    for _ in range(_TIMES):
        choose(purse, 187_650)
    return Table(
        "A purse of 10,000 billots and 3 servers",
        (
            Figure("billots for 187.65 chosen", (time.perf_counter() - begun) / _TIMES * 1e3, "ms"),
            Figure("pay --dry-run, with the servers' answers", listed_s * 1e3, "ms"),
            Figure("pay, until final", paid_s * 1e3, "ms"),
        ),
    )


async def _paid(hosts: Sequence[Host], folder: Path) -> tuple[float, float]:
    places = [host.place for host in hosts]
    payer = AsyncWallet(keyfile=folder / "payer", trusted=places, data_dir=folder)
    await payer.generate_keys()
    mint = AsyncMint(keyfile=_key(folder), trusted=places, data_dir=folder)
    runs = ",".join(f"{letters}-1000..{999 + number}" for letters, number in _PURSE.items())
    await mint.issue(runs, await payer.owner_hash())
    await payer.list_billots()
    begun = time.perf_counter()
    await payer.pay("187.65", MINT.owner, dry_run=True)
    planned_s = time.perf_counter() - begun
    begun = time.perf_counter()
    await payer.pay("187.65", MINT.owner)
    return planned_s, time.perf_counter() - begun


def _key(folder: Path) -> Path:
    path = folder / "mint"
    PrivateKey(MINT.seed).save(path)
    return path
