"""Races: an owner signs a billot over twice, and sends both to four servers at one moment.

One owner, settled at every server, where a quorum had one; else disputed at every server.
"""

import asyncio
from collections import Counter

import pytest
from servers import MINT, OTHERS, connect, fresh, mesh, run, send, signed, submit
from together import Four, at_once, evidence, figure, now, until_equal, until_states

from billots.errors import Refused

RACES = 12
END_S_MAX = 10
ANN, BOB, CAT, DAN = OTHERS[:4]
SPLITS = {
    "1-3": ("A", "B", "B", "B"),
    "3-1": ("A", "A", "A", "B"),
    "2-2": ("A", "B", "A", "B"),
    "2-2 of neighbours": ("A", "A", "B", "B"),
    "4-0": ("AB", "AB", "AB", "AB"),
    "4-0, each hears both, half of them the other way": ("AB", "BA", "AB", "BA"),
    "1-1": ("A", "", "B", ""),
    "2-1": ("A", "A", "", "B"),
}
"""What each server gets at the moment, in this order. Who gets nothing takes what the others pass
on first: then chance splits them."""


def is_over(states):
    """Whether each billot is settled at all servers for one owner, or disputed at all."""
    return all(outcome(rows) for rows in zip(*states, strict=True))


def outcome(rows):
    """The owner of a billot that is settled everywhere, ``disputed``, or None: it isn't over."""
    if {row[-1] for row in rows} == {"disputed"} and {row[1] for row in rows} == {1}:
        return "disputed"
    return rows[0][3] if rows[0][-1] == "settled" and len(set(rows)) == 1 and rows[0][1] else None


async def race(hosts, pairs, split):
    """Send the pairs; returns (outcome of each, seconds until all were over)."""
    bundles = [
        (host, [pair["AB".index(name)] for pair in pairs.values() for name in names])
        for host, names in zip(hosts, split, strict=True)
        if names
    ]
    begin = now()
    await at_once(bundles)
    states = await until_states(hosts, list(pairs), is_over)
    return [outcome(rows) for rows in zip(*states, strict=True)], now() - begin


def pairs_of(billots):
    return {billot: [signed(MINT, to, (billot, 1)) for to in (ANN, BOB)] for billot in billots}


async def check_what_follows(hosts, billot, pair, owner):
    """The proof is everywhere; who has a quorum can spend, and nobody else."""
    assert await evidence(hosts, billot) == [{each.id for each in pair}] * 4
    if owner == "disputed":
        await asyncio.gather(*(refused(host, billot) for host in hosts))
        return
    winner, loser = (ANN, BOB) if owner == ANN.owner else (BOB, ANN)
    with pytest.raises(Refused) as raised:
        await submit(hosts[3], signed(loser, DAN, (billot, 2)))
    assert raised.value.name == "not_owner"
    await submit(hosts[2], signed(winner, CAT, (billot, 2)))
    (row,) = await until_equal(hosts, [billot])
    assert row[1:4] == (2, winner.owner, CAT.owner)


async def refused(host, billot):
    """Neither payee can spend a disputed billot, whomever this server has as its owner."""
    async with await connect(host) as client:
        names = []
        for payee in (ANN, BOB):
            with pytest.raises(Refused) as raised:
                await send(client, signed(payee, DAN, (billot, 2)))
            names.append(raised.value.name)
    assert sorted(names) == ["disputed_billot", "not_owner"]


def told(split, found, seconds):
    names = {ANN.owner: "A", BOB.owner: "B"}
    count = Counter(names.get(each, each) for each in found)
    spread = ", ".join(f"{name} {number}" for name, number in sorted(count.items()))
    slowest, usual = max(seconds), sorted(seconds)[len(seconds) // 2]
    figure(f"{split}: {spread}; over after {usual:.3f} s as a rule, {slowest:.3f} s at most")


@pytest.mark.slow
@pytest.mark.parametrize("name", SPLITS)
def test_attack_races_end_the_same_everywhere(tmp_path, name):
    """A dozen, one after the other."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            await dozen(servers.hosts, name)

    run(main())


@pytest.mark.slow
def test_attack_races_of_processes_end_the_same_everywhere(tmp_path):
    """The same with servers that have a process each, all splits after one another."""

    async def main(servers):
        await servers.linked()
        for name in SPLITS:
            await dozen(servers.hosts, name)

    with Four(tmp_path) as servers:
        servers.start()
        run(main(servers))


async def dozen(hosts, name):
    found, seconds = [], []
    for billot in fresh(RACES):
        pairs = pairs_of([billot])
        (owner,), took_s = await race(hosts, pairs, SPLITS[name])
        found.append(owner)
        seconds.append(took_s)
        await check_what_follows(hosts, billot, pairs[billot], owner)
    told(name, found, seconds)
    assert max(seconds) < END_S_MAX


@pytest.mark.parametrize("name", ["1-3", "2-2", "4-0", "1-1"])
def test_attack_a_dozen_races_at_once_end_the_same_everywhere(tmp_path, name):
    async def main():
        async with mesh(tmp_path, 4) as servers:
            pairs = pairs_of(fresh(RACES))
            found, took_s = await race(servers.hosts, pairs, SPLITS[name])
            told(f"{name}, {RACES} at once", found, [took_s])
            assert took_s < END_S_MAX
            for billot, owner in list(zip(pairs, found, strict=True))[::4]:
                await check_what_follows(servers.hosts, billot, pairs[billot], owner)

    run(main())
