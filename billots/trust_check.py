"""How the lists of a payee and of its servers overlap, as they are published now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    publishing: list[tuple[Link, str, list[Host]]] = []
    for link in circle.links:
        published = _published(link)
        if link.key is not None and published is not None:
            publishing.append((link, "" if link.host.loopback else link.host.place, published))
    others = [(host, at) for _, at, published in publishing for host in published]
    names = _Names(keys, [*((host, "") for host in (*yours, *other)), *others])
    mine = {names.of(host) for host in yours}
    lists = [TrustList.of(YOURS, mine, quorum.needed(len(mine)))]
    if other:
        lists.append(TrustList.of(OTHER, {names.of(host) for host in other}))
    for link, at, published in publishing:
        servers = {str(link.key), *(names.of(host, at) for host in published)}
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


class _Names:
    """What servers go by in all lists: a key, else a place.

    One that is down has a key in a list that pins it, and none in another. Nobody can tell that
    these are two, so that both go by the place; a key that answers at another place is its own.
    """

    def __init__(self, keys: Mapping[str, str], everywhere: Iterable[tuple[Host, str]]) -> None:
        self._keys = keys
        self._answering = set(keys.values())
        self._keyless = {_place(host, at) for host, at in everywhere if self._key(host, at) is None}

    def of(self, host: Host, at: str = "") -> str:
        """A server's name; `at` is whose localhost a loopback place is, if not ours."""
        key, place = self._key(host, at), _place(host, at)
        if key is None or (place in self._keyless and key not in self._answering):
            return place
        return key

    def _key(self, host: Host, at: str) -> str | None:
        if host.key is not None or (host.loopback and at):
            return host.key
        here = ("localhost", "127.0.0.1", "[::1]") if host.loopback else ()
        places = (host.place, *(f"{name}:{host.port}" for name in here))
        return next((self._keys[place] for place in places if place in self._keys), None)


def _place(host: Host, at: str) -> str:
    if not host.loopback:
        return host.place
    return f"{at}/{host.place}" if at else f"localhost:{host.port}"
