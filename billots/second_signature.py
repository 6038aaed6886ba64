"""The refusal to sign a billot over a second time, in words that tell what to do."""

from __future__ import annotations

from billots.errors import AlreadySigned
from billots.order import Order
from billots.runs import runs_text
from billots.transfer import Transfer


def already_signed(transfer: Transfer, command: str = "bwallet") -> AlreadySigned:
    """The refusal of a second `to`; its hint is the command that sends the first one again."""
    billots = ",".join(billot for billot, _ in transfer.billots)
    first, seq = transfer.billots[0]
    more = f" and {len(transfer.billots) - 1} more" if len(transfer.billots) > 1 else ""
    return AlreadySigned(
        f"already signed over to another owner: {first} (seq {seq}){more} to {transfer.to}",
        f"{command} --transfer {billots} {transfer.to} sends that one again",
    )


def already_ordered(order: Order) -> AlreadySigned:
    """The refusal to sign what an order gives to somebody else."""
    return AlreadySigned(
        f"already issued to another owner: of {runs_text(order.runs[:3])}… to {order.to}"
        if len(order.runs) > 3
        else f"already issued to another owner: of {runs_text(order.runs)} to {order.to}",
        "bmint issue --resume finishes what was begun",
    )
