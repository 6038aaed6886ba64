"""Properties of the value layer: framing, Merkle trees, money, ids, signed transfers."""

import json
import random
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billots.crypto import PrivateKey
from billots.errors import BillotIdError, HostError, InputError
from billots.feed import parse_row
from billots.framing import FrameDecoder, is_deeper
from billots.host import Host, parse_hosts
from billots.merkle import audit_path, root_from_path, root_hash
from billots.network import Network, format_mils, parse_mils, shown, split_billot_id
from billots.quorum import Quorum, liars_max, safe_quorum
from billots.transfer import Transfer

TEST = Network.shipped("test")
ALICE, BOB = (PrivateKey(bytes([n]) * 32) for n in (1, 2))

# The same examples at every run, and no deadline: a test must not fail for a busy machine.
steady = settings(derandomize=True, deadline=None, database=None)

# Framing

FRAME_BYTES_MAX = 12
STREAM = st.lists(st.sampled_from([b"\n", b" ", b"a", b"bc", b"\r", b"x" * 5, b"y" * 13]))


def reference(stream):
    """Frames by the definition: lines, up to the first one that is over the limit."""
    *lines, rest = stream.split(b"\n")
    good = []
    for line in lines:
        if len(line) > FRAME_BYTES_MAX:
            return good, True
        if line.strip():
            good.append(line)
    return good, len(rest) > FRAME_BYTES_MAX


@steady
@given(STREAM.map(b"".join), st.lists(st.integers(min_value=1, max_value=9)))
def test_however_a_stream_is_cut_its_frames_are_the_same(stream, sizes):
    decoder, frames, at = FrameDecoder(FRAME_BYTES_MAX), [], 0
    too_large = False
    for size in [*sizes, max(1, len(stream) - sum(sizes))]:
        good, too_large = decoder.feed(stream[at : at + size])
        at += size
        frames += good
        if too_large or at >= len(stream):
            break
    assert (frames, too_large) == reference(stream)
    assert too_large or decoder.begun == (not stream.endswith(b"\n") and stream != b"")


JSON = st.recursive(
    st.none() | st.text(st.sampled_from('[]{}"\\a ,:')),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.sampled_from('[]{}"\\')), inner, max_size=3)
    ),
    max_leaves=20,
)


def depth_of(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@steady
@given(JSON)
def test_depth_is_that_of_the_parsed_value_whatever_its_strings_hold(value):
    text, depth = json.dumps(value).encode(), depth_of(value)
    assert is_deeper(text, depth) is False
    if depth:
        assert is_deeper(text, depth - 1)


@steady
@given(st.binary(max_size=60) | st.text(st.sampled_from('[]{}"\\,:1')).map(str.encode))
def test_what_passes_for_shallow_never_nests_deeper_as_far_as_it_can_be_read(text):
    """Walk the text as a reader would, up to its first error."""
    deepest, depth, in_string, escaped = 0, 0, False, False
    for byte in text:
        if in_string:
            in_string = escaped or byte != ord('"')
            escaped = byte == ord("\\") and not escaped
        elif byte == ord('"'):
            in_string = True
        elif byte == ord("\\"):
            break
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
            if depth < 0:
                break
    for depth_max in range(deepest):
        assert is_deeper(text, depth_max)


# Merkle


def naive_root(leaves):
    """RFC 6962, section 2.1, word by word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    k = largest_power_of_two_below(len(leaves))
    return sha256(b"\1" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(leaves, m):
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = largest_power_of_two_below(len(leaves))
    if m < k:
        return [*naive_path(leaves[:k], m), naive_root(leaves[k:])]
    return [*naive_path(leaves[k:], m - k), naive_root(leaves[:k])]


def largest_power_of_two_below(n):
    return 1 << ((n - 1).bit_length() - 1)


@pytest.mark.parametrize("count", range(40))
def test_root_and_paths_are_those_of_rfc_6962(count):
    leaves = [f"row {number}".encode() for number in range(count)]
    assert root_hash(leaves) == naive_root(leaves)
    for index in range(count):
        assert audit_path(leaves, index) == naive_path(leaves, index)


@steady
@given(st.lists(st.binary(max_size=5), min_size=1, max_size=64), st.data())
def test_a_path_leads_to_the_root_from_its_own_leaf_and_place_only(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = audit_path(leaves, index)
    root = root_hash(leaves)
    assert root == naive_root(leaves)
    assert path == naive_path(leaves, index)
    assert root_from_path(leaves[index], index, len(leaves), path) == root
    assert root_from_path(leaves[index] + b"x", index, len(leaves), path) != root
    assert root_from_path(leaves[index], index, len(leaves), [*path, root]) is None
    other = data.draw(st.integers(0, len(leaves) - 1))
    if leaves[other] != leaves[index]:
        assert root_from_path(leaves[other], index, len(leaves), path) != root


# Money, ids, hosts


@steady
@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_money_is_printed_and_read_without_loss(mils):
    value = format_mils(mils)
    assert parse_mils(value) == mils
    assert "." not in value or not value.endswith(("0", "."))


@steady
@given(st.lists(st.integers(min_value=0, max_value=10**12)))
def test_sums_of_printed_values_are_exact(amounts):
    assert sum(parse_mils(format_mils(mils)) for mils in amounts) == sum(amounts)


@steady
@given(st.text(max_size=8) | st.from_regex(r"[a-z]{1,3}-[1-9][0-9]{0,5}.?", fullmatch=True))
def test_a_text_that_passes_for_a_billot_id_is_spelt_in_the_only_way(text):
    try:
        prefix, number = split_billot_id(text)
    except BillotIdError:
        return
    assert f"{prefix}{number}" == text
    assert text.isascii()
    assert prefix == prefix.lower()


@steady
@given(st.text(max_size=60), st.integers(min_value=1, max_value=80))
def test_what_is_shown_can_go_to_a_terminal(text, length_max):
    safe = shown(text, length_max)
    assert len(safe) <= length_max
    assert safe.rstrip("…").isascii()
    assert safe.isprintable()


@steady
@given(st.text(max_size=40) | st.from_regex(r"[a-z.\-]{1,9}(:[0-9]{1,6})?", fullmatch=True))
def test_what_passes_for_a_host_prints_as_a_host_that_can_be_looked_up(text):
    try:
        host = Host.parse(text)
    except HostError:
        return
    assert Host.parse(str(host)) == host
    assert parse_hosts([str(host)] * 2) == [host]
    assert host.address.encode("idna")


@steady
@given(st.text(max_size=80) | st.from_regex(r"[0-9]{1,3} [0-9a-f]{64}( [a-c]-[0-9])*\n?"))
def test_a_text_that_passes_for_a_feed_row_is_spelt_in_the_only_way(text):
    try:
        row = parse_row(text)
    except InputError:
        return
    assert row.text == text


@steady
@given(st.integers(min_value=1, max_value=10_000))
def test_safe_quorums_of_any_size_share_an_honest_server(n):
    f, q = liars_max(n), safe_quorum(n)
    assert 2 * q > n + f
    assert q + f <= n
    for share in range(1, 101):
        needed = Quorum(f"{share}%").needed(n)
        assert (needed - 1) * 100 < share * n <= needed * 100


# Signed transfers

MUTATIONS = 100_000


def mutated(transfer, choose):
    """The fields of a transfer with one thing changed, always to something else."""
    kind = choose.randrange(6)
    rows = [list(row) for row in transfer.billots]
    if kind == 0:
        field = choose.choice(("network", "to", "public_key", "signature"))
        digits = list(getattr(transfer, field))
        at = choose.randrange(len(digits))
        digits[at] = choose.choice([d for d in "0123456789abcdef" if d != digits[at]])
        return msgspec.structs.replace(transfer, **{field: "".join(digits)})
    if kind == 1:
        at = choose.randrange(len(rows))
        rows[at][1] += choose.choice((-1, 1, 2, 2**32))
    elif kind == 2:
        at = choose.randrange(len(rows))
        rows[at][0] = choose.choice(("d-", "e-")) + str(choose.randrange(1, 1000))
    elif kind == 3 and len(rows) > 1:
        del rows[choose.randrange(len(rows))]
    elif kind == 4 and len(rows) > 1:
        first, second = choose.sample(range(len(rows)), 2)
        rows[first], rows[second] = rows[second], rows[first]
    else:
        rows.insert(choose.randrange(len(rows) + 1), [f"e-{choose.randrange(1, 9)}", 1])
    return msgspec.structs.replace(transfer, billots=tuple(map(tuple, rows)))


@pytest.mark.slow
def test_attack_signature_malleability_100_000_mutations_never_verify():
    choose = random.Random(2017)
    transfers = [
        Transfer.sign(TEST, ALICE, BOB.owner, [("a-1", 5)]),
        Transfer.sign(TEST, ALICE, BOB.owner, [("a-1", 5), ("b-7", 2), ("c-3", 1)]),
    ]
    assert all(transfer.verify() for transfer in transfers)
    for _ in range(MUTATIONS):
        transfer = choose.choice(transfers)
        mutant = mutated(transfer, choose)
        assert mutant != transfer
        assert not mutant.verify()
