"""Keys and values as bytes: how a store lies on disk.

======================================  =====================================================
key                                     value
======================================  =====================================================
``b`` billot                            seq, lsn, then the short transfer id of an entry that
                                        was written with one row
``f`` lsn                               flags, transfer
``c`` lsn                               how many billots are live in it, short transfer id;
                                        only for an entry that was written with more rows
``o`` short owner, billot               nothing: the record decides whose it is
``t`` short transfer id, lsn            nothing: the record decides which it is
``u`` lsn                               billots that aren't settled, with their statuses
``e`` billot                            seq, two transfers that move it to that seq
``r`` billot                            its receipt, as it was handed in
``m`` name                              a small value
======================================  =====================================================

A billot is its prefix, one length byte and its number, big-endian: bytes sort as ids do. An lsn
in a key is 8 bytes, big-endian; seqs, lsns and counts in values are LEB128 varints. Short ids
are their first 8 bytes. They stand in ``b`` and ``c`` so that an entry that gives way can be
deleted with its ``t`` without being read. A transfer is its raw public key, signature, `to`
and rows; its network is the store's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

from billots.errors import StoreDamaged
from billots.holding import Status
from billots.transfer import Transfer

FORMAT = 1
SHORT = 8

_ADOPTED, _HERE = 1, 2
_STATUSES = {Status.HELD: 1, Status.CONTESTED: 2, Status.DISPUTED: 3}
_STATUS_OF = {number: status for status, number in _STATUSES.items()}
_ONE_BYTE = tuple(bytes((number,)) for number in range(128))
_KEYS_MAX = 4096
"""Keys kept, some 0.2 KB each: what moves is asked for several times on its way."""
_KEY_AT, _SIGNATURE_AT, _TO_AT, _ROWS_AT = 0, 32, 96, 160


@lru_cache(_KEYS_MAX)
def billot_key(billot: str) -> bytes:
    """A billot id, which must be canonical, as bytes that sort by (prefix, number)."""
    prefix, _, digits = billot.partition("-")
    number = int(digits)
    length = (number.bit_length() + 7) >> 3
    return b"%b-%c%b" % (prefix.encode(), length, number.to_bytes(length, "big"))


def read_billot(data: bytes, at: int = 0) -> tuple[str, int]:
    """The billot id that starts at `at`, and where it ends."""
    dash = data.find(b"-", at, at + 4)
    if dash <= at or dash + 1 >= len(data):
        raise damaged("billot id")
    start = dash + 2
    end = start + data[dash + 1]
    if end == start or end > len(data):
        raise damaged("billot id")
    return f"{data[at:dash].decode('latin-1')}-{int.from_bytes(data[start:end], 'big')}", end


def entry_key(lsn: int) -> bytes:
    """The key of an entry; `count_key` and `unsettled_key` are what belongs to it."""
    return b"f" + lsn.to_bytes(8, "big")


def count_key(lsn: int) -> bytes:
    """See `entry_key`."""
    return b"c" + lsn.to_bytes(8, "big")


def unsettled_key(lsn: int) -> bytes:
    """See `entry_key`."""
    return b"u" + lsn.to_bytes(8, "big")


def owner_prefix(owner: str) -> bytes:
    """What the keys of all billots of an owner begin with."""
    return b"o" + bytes.fromhex(owner[: 2 * SHORT])


def key_lsn(key: bytes) -> int:
    """The lsn that a key ends in."""
    return int.from_bytes(key[-8:], "big")


def varint(number: int) -> bytes:
    """LEB128."""
    if number < 128:
        return _ONE_BYTE[number]
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int = 0) -> tuple[int, int]:
    """The number that starts at `at`, and where it ends."""
    number = shift = 0
    try:
        while (byte := data[at]) >= 128:
            number |= (byte & 127) << shift
            shift += 7
            at += 1
    except IndexError:
        raise damaged("number") from None
    return number | byte << shift, at + 1


def head(seq: int, lsn: int) -> bytes:
    """How the value of ``b`` begins. Varints end themselves, so that none begins another."""
    return varint(seq) + varint(lsn)


def read_head(value: bytes) -> tuple[int, int]:
    """Seq and lsn of a billot."""
    seq, at = read_varint(value)
    lsn, at = read_varint(value, at)
    if len(value) - at not in (0, SHORT):
        raise damaged("billot")
    return seq, lsn


def read_count(value: bytes) -> tuple[int, bytes]:
    """How many billots are live in an entry, and its short transfer id."""
    count, at = read_varint(value)
    if len(value) - at != SHORT:
        raise damaged("count")
    return count, value[at:]


def pack_transfer(transfer: Transfer) -> bytes:
    """A transfer without its network."""
    parts = [
        transfer.raw_key,
        bytes.fromhex(transfer.signature),
        bytes.fromhex(transfer.to),
        varint(len(transfer.billots)),
    ]
    for billot, seq in transfer.billots:
        parts += (billot_key(billot), varint(seq))
    return b"".join(parts)


def read_transfer(data: bytes, at: int, network_id: str) -> tuple[Transfer, int]:
    """The transfer that starts at `at`, and where it ends."""
    count, end = read_varint(data, at + _ROWS_AT)
    rows: list[tuple[str, int]] = []
    for _ in range(count):
        billot, end = read_billot(data, end)
        seq, end = read_varint(data, end)
        rows.append((billot, seq))
    public_key = data[at + _KEY_AT : at + _SIGNATURE_AT].hex()
    signature = data[at + _SIGNATURE_AT : at + _TO_AT].hex()
    to = data[at + _TO_AT : at + _ROWS_AT].hex()
    return Transfer(network_id, to, tuple(rows), public_key, signature), end


def pack_entry(transfer: Transfer, *, adopted: bool, here: bool) -> bytes:
    """The value of ``f``."""
    flags = (_ADOPTED if adopted else 0) | (_HERE if here else 0)
    return _ONE_BYTE[flags] + pack_transfer(transfer)


def read_entry(value: bytes, network_id: str) -> tuple[Transfer, bool, bool]:
    """Transfer, adopted and here of an entry."""
    transfer, end = read_transfer(value, 1, network_id)
    if end != len(value):
        raise damaged("entry")
    return transfer, bool(value[0] & _ADOPTED), bool(value[0] & _HERE)


def entry_parties(value: bytes) -> tuple[str, str]:
    """Sender and new owner of an entry, without reading its rows."""
    if len(value) <= 1 + _ROWS_AT:
        raise damaged("entry")
    public_key, to = value[1 : 1 + _SIGNATURE_AT], value[1 + _TO_AT : 1 + _ROWS_AT]
    return hashlib.sha512(public_key).hexdigest(), to.hex()


def pack_unsettled(statuses: Mapping[str, Status]) -> bytes:
    """The value of ``u``."""
    return b"".join(billot_key(b) + _ONE_BYTE[_STATUSES[s]] for b, s in statuses.items())


def read_unsettled(value: bytes) -> dict[str, Status]:
    """Billots of an entry that aren't settled."""
    statuses: dict[str, Status] = {}
    at = 0
    while at < len(value):
        billot, at = read_billot(value, at)
        status = _STATUS_OF.get(value[at]) if at < len(value) else None
        if status is None:
            raise damaged("status")
        statuses[billot] = status
        at += 1
    return statuses


def pack_pair(seq: int, pair: Iterable[Transfer]) -> bytes:
    """The value of ``e``. The seq is told apart, for who asks for it alone asks often."""
    return varint(seq) + b"".join(map(pack_transfer, pair))


def read_evidence_seq(value: bytes) -> int:
    """The seq at which the transfers kept for a billot conflict."""
    return read_varint(value)[0]


def read_pair(value: bytes, network_id: str) -> tuple[Transfer, Transfer]:
    """The two transfers kept for a billot."""
    _, at = read_varint(value)
    first, at = read_transfer(value, at, network_id)
    second, at = read_transfer(value, at, network_id)
    if at != len(value):
        raise damaged("evidence")
    return first, second


def damaged(what: str) -> StoreDamaged:
    """The error for a record that is not what was written."""
    return StoreDamaged(f"the store is damaged: a {what} on record can't be read")
