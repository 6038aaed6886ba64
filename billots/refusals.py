"""A server's refusal in our own words: no text of a server's ever reaches a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from billots.errors import Refused
from billots.holding import Holding, Status
from billots.jsonrpc import CODES
from billots.transfer import OwnerId, Seq, Transfer

_AGAIN = "the same command sends it again"

_WORDS: dict[str, tuple[str, str | None]] = {
    "unknown_billot": ("the server knows no billot {billot}", None),
    "unissued_billot": ("{billot} is unissued: nobody owns it", None),
    "not_owner": ("{billot} is not yours{owner}", "{command} --list shows what is"),
    "bad_signature": ("the server says that the signature is wrong", None),
    "wrong_network": ("the server is of another network", "--network or --server names another"),
    "stale_seq": ("{billot} has moved on{owner}", "{command} --check-owner {billot}"),
    "behind": (
        "the server has not heard yet how {billot} came to you",
        _AGAIN + "; --server names another",
    ),
    "not_settled": ("{billot} is not settled yet", _AGAIN),
    "conflicting_transfer": (
        "{billot} is signed over to somebody else already{owner}",
        "{command} --check-owner {billot}",
    ),
    "contested_billot": ("{billot} was signed over twice, and is not settled", _AGAIN),
    "disputed_billot": (
        "{billot} was signed over twice, and no quorum has either owner",
        "{command} --check-owner {billot}",
    ),
    "frame_too_large": ("the transfer is too large for the server", "send fewer billots at once"),
    "rate_limited": ("the server has too much to do for this address", _AGAIN),
    "store_failed": ("the server could not write the transfer down", _AGAIN),
    "bad_receipt": ("the server does not take the receipt", None),
}


class _Told(msgspec.Struct, rename={"sender": "from"}):
    """What we read of a holding in a refusal, shapes checked."""

    seq: Seq
    owner: OwnerId | None
    status: Status
    sender: OwnerId | None = None


def refusal(
    name: str, billot: str, holding: Holding | None = None, command: str = "bwallet"
) -> Refused:
    """The refusal `name` for a billot, in our words, with what is known of its owner.

    `command` is what its hint says to type.
    """
    words, hint = _WORDS[name]
    owner = holding.owner if holding is not None else None
    data: dict[str, object] = {"billot": billot}
    if holding is not None:
        data |= {"seq": holding.seq, "owner": owner, "status": holding.status.value}
    told = words.format(billot=billot, owner=f": its owner is {owner}" if owner else "")
    return Refused(
        CODES[name], told, name, data, hint and hint.format(billot=billot, command=command)
    )


def not_ready(billot: str) -> Refused:
    """The refusal of servers that can't speak for a billot yet."""
    return Refused(
        CODES["not_settled"],
        f"the server can't speak for {billot} yet: it is new and reads what the others have, "
        "or waits for enough of them to answer",
        "not_settled",
        {"billot": billot},
        _AGAIN + "; --server names another",
    )


def in_our_words(refused: Refused, transfer: Transfer, command: str = "bwallet") -> Refused:
    """What a server's error answer to `transfer` means; its own text and data are dropped.

    Only a billot that is one of the transfer's, and a holding of the right shape, are read
    out of its data.
    """
    if refused.name is None or refused.name not in _WORDS:
        return Refused(
            refused.code, f"the server answered with error {refused.code}", None, None, None
        )
    billots = [billot for billot, _ in transfer.billots]
    told = refused.data.get("billot")
    billot = told if isinstance(told, str) and told in billots else ",".join(billots[:3])
    if refused.name == "not_settled" and dict(transfer.billots).get(billot) == 1:
        return not_ready(billot)  # what never moved is settled wherever it is known
    return refusal(refused.name, billot, _holding(refused.data), command)


def _holding(data: Mapping[str, Any]) -> Holding | None:
    try:
        told = msgspec.convert(data.get("holding"), _Told)
    except msgspec.ValidationError:
        return None
    return Holding(told.seq, told.sender, told.owner, told.status)
