"""What a seed comes to: servers, lists, limits, what wallets will do and what goes wrong.

All of it is drawn before anything happens. Actions and faults are plain tuples, so that a run
can be repeated with some of them left out, or kept as a named case.
"""

from typing import NamedTuple

from billots.limits import Limits
from billots.quorum import liars_max, safe_quorum
from simulation.switches import ON

SIZES = (*(1,) * 4, *(2,) * 8, *(3,) * 32, *(4,) * 40, *(5,) * 9, *(6,) * 3, *(7,) * 3, 10)


class Action(NamedTuple):
    """What somebody with a wallet does; the numbers choose among what there is by then."""

    at: float
    kind: str
    numbers: tuple


class Fault(NamedTuple):
    """What goes wrong; `seconds` is how long it lasts."""

    at: float
    kind: str
    server: int
    other: int
    seconds: float
    share: float


class Plan(NamedTuple):
    """All that is decided beforehand."""

    seed: int
    size: int
    lists: tuple
    hosts: str
    liars: tuple
    limits: Limits
    seconds: float
    actions: tuple
    faults: tuple


ACTIONS = (
    ("pay", 60),
    ("bundle", 8),
    ("double", 10),
    ("twice", 3),
    ("late", 6),
    ("replay", 5),
    ("hasty", 4),
    ("forged", 2),
    ("framed", 1),
    ("pair", 2),
    ("ask", 2),
)
FAULTS = (
    ("crash", 14),
    ("stop", 3),
    ("part", 12),
    ("oneway", 8),
    ("isolate", 5),
    ("reset", 8),
    ("loss", 8),
    ("slow", 5),
    ("freeze", 6),
    ("disk", 8),
    ("eio lost", 4),
    ("eio written", 4),
    ("full", 2),
    ("jump", 3),
)
LOST_MEMORY = ("wiped", "restored", "flipped")


def draw(seed, streams):
    """The plan of a seed."""
    rng = streams("plan")
    size = rng.choice(SIZES)
    everybody = range(size)
    f = liars_max(size)
    lost = 1 if ON["wiped"] and size >= 2 and rng.random() < 0.4 else 0
    if size >= 4:
        lost = min(lost, f)
    liars = tuple(sorted(rng.sample(everybody, max(0, f - lost) if size >= 4 else 0)))
    seconds = rng.choice((0.7, 1.0, 1.6))
    count = int(rng.choice((80, 110, 140)) * (0.5 if size > 7 else 1))
    actions = _actions(streams("workload"), count, seconds)
    faults = _faults(streams("faults"), size, liars, lost, seconds)
    # What a liar signed before it fell silent counts only for who knows its key, and that of one
    # who was silent from the start nobody could have learnt.
    hosts = "pinned" if liars or lost else rng.choice(("named", "pinned", "loopback"))
    lists = tuple(tuple(n for n in everybody if n != number) for number in everybody)
    if ON["lists"] and size >= 5 and rng.random() < 0.15:
        lists = _shorter(rng, lists, size, len(liars) + lost)
    return Plan(seed, size, lists, hosts, liars, _limits(rng), seconds, actions, faults)


def _limits(rng):
    if rng.random() < 0.5:
        return Limits(consult_again_s_max=8.0)  # time at rest is dear here, and back-off is not
    return Limits(
        consult_again_s_max=rng.choice((2.0, 8.0)),
        consult_after_s=rng.choice((0.2, 1.0)),
        consults_per_s=rng.choice((8.0, 128.0)),
        receipt_after_s=rng.choice((0.1, 1.0)),
        seen_max=rng.choice((4, 64, 4096)),
        bodies_max=rng.choice((8, 64, 8192)),
        pending_max=rng.choice((2, 16, 4096)),
        pending_per_connection_max=rng.choice((1, 8, 256)),
        pending_s=rng.choice((0.5, 5.0)),
        in_flight_max=rng.choice((2, 16, 256)),
        feed_every_s=rng.choice((0.0, 0.01, 0.05, 0.2)),
        fetch_after_s=rng.choice((0.02, 0.1, 0.3)),
        votes_per_peer_max=rng.choice((40, 100_000)),
        frame_bytes_max=rng.choice((32 * 1024, 128 * 1024)),
        cost_per_address_max=rng.choice((4.0, 2000.0)),
    )


def _pick(rng, table):
    total = sum(weight for _, weight in table)
    at = rng.random() * total
    for kind, weight in table:
        at -= weight
        if at < 0:
            return kind
    return table[-1][0]


def _actions(rng, count, seconds):
    times = sorted(rng.random() * seconds for _ in range(count))
    return tuple(
        Action(at, _pick(rng, ACTIONS), tuple(rng.randrange(1 << 30) for _ in range(6)))
        for at in times
    )


def _faults(rng, size, liars, lost, seconds):
    """Liars have no need of faults of their own: they do worse by themselves."""
    honest = [number for number in range(size) if number not in liars]
    table = [row for row in FAULTS if ON.get(row[0], True)]
    count = rng.choice((0, 2, 4, 8, 12)) if size > 1 else rng.choice((0, 2, 4))
    found = []
    for _ in range(count):
        at, server = rng.random() * seconds, rng.choice(honest)
        other = rng.randrange(-1, size)  # -1: the wallets
        length = rng.choice((0.05, 0.3, 1.0, 2.0))
        found.append(Fault(at, _pick(rng, table), server, other, length, rng.random()))
    if lost:
        kind, victim = rng.choice(LOST_MEMORY), rng.choice(honest)
        copied = rng.random() * seconds * 0.7
        found.append(Fault(copied, "copied", victim, victim, 0.0, rng.random()))
        at = copied + rng.random() * (seconds - copied)
        found.append(Fault(at, kind, victim, victim, rng.choice((0.01, 0.3, 1.0)), rng.random()))
    return tuple(sorted(found))


def _shorter(rng, lists, size, faulty):
    """One server trusts one fewer, if the bound of DESIGN section 5, rule 7 still holds.

    Who loses its memory comes back as somebody else, and may vote anew: it counts like a liar.
    """
    shorter, left_out = rng.sample(range(size), 2)
    own = tuple(n for n in lists[shorter] if n != left_out)
    n2, overlap = len(own) + 1, size - 1
    misses = (size - safe_quorum(size)) + (n2 - safe_quorum(n2)) + faulty
    if overlap <= misses:
        return lists
    return tuple(own if number == shorter else row for number, row in enumerate(lists))
