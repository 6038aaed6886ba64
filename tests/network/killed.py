"""A command that SIGKILL ends at its n-th step: ``python killed.py bchange N serve …``.

A step is the moment before or after a line goes into one of its books, or a transfer, a quote or
what redeems it to a server. N may be 0: then it is never killed.
"""

import os
import signal
import sys
from importlib import import_module

from billots import change_work
from billots.appended import Appended
from billots.connection import Client
from billots.journal import Journal

PROGRAM, LAST, COUNTED = sys.argv.pop(1), int(sys.argv.pop(1)), [0]
CALLS = ("transfer", "quote", "redeem")


def step():
    COUNTED[0] += 1
    if COUNTED[0] == LAST:
        os.kill(os.getpid(), signal.SIGKILL)


def at_step(right):
    def now(*args):
        step()
        found = right(*args)
        step()
        return found

    return now


def at_step_later(right, counts=lambda _: True):
    async def later(*args, **more):
        if not counts(args):
            return await right(*args, **more)
        step()
        found = await right(*args, **more)
        step()
        return found

    return later


Appended.append = at_step(Appended.append)
Journal._append = at_step(Journal._append)
if PROGRAM == "bchange":
    change_work.deliver = at_step_later(change_work.deliver)
else:
    Client.call = at_step_later(Client.call, lambda args: args[1] in CALLS)
import_module(f"billots.cli.{PROGRAM}").main()
