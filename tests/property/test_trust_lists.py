"""The overlap bound against every way to pay two payees with one billot."""

from itertools import combinations, product

from hypothesis import given
from hypothesis import strategies as st

from billots.trust_lists import TrustList, overlap, overlaps

SERVERS = "abcdef"


def can_pay_both(first, second, liars):
    """Whether these liars, and honest servers that vote once, give both lists a quorum."""
    honest = sorted((first.servers | second.servers) - liars)
    for sides in product((0, 1), repeat=len(honest)):
        one = liars | {server for server, side in zip(honest, sides, strict=True) if side}
        two = liars | {server for server, side in zip(honest, sides, strict=True) if not side}
        if len(first.servers & one) >= first.needed and len(second.servers & two) >= second.needed:
            return True
    return False


@st.composite
def lists(draw):
    servers = draw(st.sets(st.sampled_from(SERVERS), min_size=1))
    needed = draw(st.one_of(st.none(), st.integers(1, len(servers))))
    return TrustList.of("someone", servers, needed)


@given(lists(), lists())
def test_the_bound_is_what_every_try_to_pay_both_comes_to(first, second):
    told = overlap(first, second)
    shared = first.servers & second.servers
    assert told.shared == len(shared)
    for count in range(len(shared) + 1):
        survives = told.liars is not None and count <= told.liars
        paid = any(can_pay_both(first, second, set(t)) for t in combinations(shared, count))
        assert survives != paid


@given(lists(), lists())
def test_the_order_of_two_lists_does_not_matter(first, second):
    assert overlap(first, second).liars == overlap(second, first).liars


def test_safe_lists_survive_as_many_liars_as_they_should():
    for n, liars in ((1, 0), (3, 0), (4, 1), (7, 2), (10, 3), (17, 5)):
        alone = TrustList.of("me", map(str, range(n)))
        assert alone.liars == liars
        assert overlap(alone, alone).liars >= liars
    three = TrustList.of("me", "abc")
    assert (three.needed, three.down, overlap(three, three).liars) == (2, 1, 0)


def test_lists_that_hardly_overlap_survive_nothing():
    first, second = TrustList.of("one", "abcd"), TrustList.of("two", "cdef")
    assert overlap(first, second).liars is None
    assert overlap(first, TrustList.of("three", "bcde")).liars == 0
    assert overlap(first, TrustList.of("none", "xyz")).liars is None


def test_equal_lists_are_one_with_all_their_names():
    pairs = overlaps([TrustList.of(name, "abcd") for name in ("one", "two", "three")])
    assert [(pair.first.names, pair.second.names) for pair in pairs] == [
        (("one", "two", "three"), ("one", "two", "three"))
    ]
    more = overlaps([TrustList.of("one", "abcd"), TrustList.of("two", "abcde")])
    assert len(more) == 3
