"""A proof shown to the change server that it is against, as its customer should have done.

Whoever pays a quote and keeps that to himself has a proof as good as if his change was kept. A
change server that is honest answers whoever shows it both, and then there is nothing to prove.
"""

from __future__ import annotations

from dataclasses import replace

from billots.change_wire import Redeem, Redeemed
from billots.errors import BillotsError
from billots.exchange_proof import ProofCheck
from billots.host import Host
from billots.teller import Teller


async def show(checked: ProofCheck, host: Host, limit_s: float) -> ProofCheck:
    """The same, and whether the change server at `host` was shown it; nothing is raised."""
    proof = checked.proof
    try:
        pinned = replace(host, key=proof.quote.server)
        teller = await Teller.connect(pinned, checked.network, limit_s)
        async with teller.client:
            asked = Redeem(proof.quote, proof.transfer)
            said: Redeemed = await teller.call("redeem", asked, Redeemed, limit_s)
    except BillotsError as error:
        return replace(checked, shown=str(error))
    return replace(checked, shown=f"it says that it has answered with a {said.kind}")
