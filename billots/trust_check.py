"""How the lists of a payee and of its servers overlap, as they are published now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from billots.circle import Circle
from billots.errors import HostError
from billots.host import HOSTS_MAX, Host, parse_hosts
from billots.link import Link
from billots.poll import Answer
from billots.quorum import Quorum
from billots.trust_lists import Overlap, TrustList, overlaps

YOURS, OTHER = "yourself", "the other"


@dataclass(frozen=True, slots=True)
class TrustReport:
    """What a list is good for: alone, and beside those that others trust.

    `pairs` has the bound of every pair of different lists, each list with itself included;
    `answers` which servers could be asked for theirs.
    """

    yours: TrustList
    pairs: tuple[Overlap, ...]
    answers: tuple[Answer, ...]

    @property
    def weak(self) -> tuple[Overlap, ...]:
        """Pairs that honest servers alone don't keep from being paid with one billot."""
        return tuple(pair for pair in self.pairs if pair.liars is None)


def trust_report(
    circle: Circle, yours: Sequence[Host], other: Sequence[Host], quorum: Quorum
) -> TrustReport:
    """The bounds for two lists whose servers have been greeted, and for those they publish.

    Servers are told apart by their keys where these are known, else by where they are. What
    they publish isn't signed: a liar can hide how it trusts, but that is its own harm.
    """
    keys = {k.host.place: key for k in circle.links if (key := circle.key(k)) is not None}
    mine = _named(yours, keys)
    lists = [TrustList.of(YOURS, mine, quorum.needed(len(mine)))]
    if other:
        lists.append(TrustList.of(OTHER, _named(other, keys)))
    for link in circle.links:
        published = _published(link)
        if link.key is not None and published is not None:
            at = "" if link.host.loopback else link.host.place
            servers = {link.key, *_named(published, keys, at)}
            lists.append(TrustList.of(link.host.place, servers))
    answers = tuple(Answer(k.host, k.key, None, k.problem) for k in circle.links)
    return TrustReport(lists[0], tuple(overlaps(lists)), answers)


def _published(link: Link) -> list[Host] | None:
    """What a server says that it trusts; None if it can't be read."""
    if link.trusted is None or len(link.trusted) > HOSTS_MAX:
        return None
    try:
        return parse_hosts(link.trusted)
    except HostError:
        return None


def _named(hosts: Sequence[Host], keys: Mapping[str, str], at: str = "") -> set[str]:
    """Servers by their keys, else by their places."""
    return {_known_as(host, keys, at) for host in hosts}


def _known_as(host: Host, keys: Mapping[str, str], at: str) -> str:
    """A server's key, else its place; `at` is whose localhost a loopback place is, if not ours."""
    if host.key is not None:
        return host.key
    if not host.loopback:
        return keys.get(host.place, host.place)
    if at:
        return f"{at}/{host.place}"
    places = [f"{name}:{host.port}" for name in ("localhost", "127.0.0.1", "[::1]")]
    return next((keys[place] for place in (host.place, *places) if place in keys), places[0])
