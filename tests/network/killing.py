"""A process that ends at any step of what it does."""

from billots.journal import Journal
from billots.link import Link


class Killed(BaseException):
    """The process ends here."""


def killed_at(monkeypatch, step):
    """Every write to the journal and every call is a step; the process ends before or after one."""
    counted = 0

    def at_step(owner, name, *, is_async):
        right = getattr(owner, name)

        def count():
            nonlocal counted
            counted += 1
            if counted == step:
                raise Killed

        async def later(*args, **more):
            count()
            found = await right(*args, **more)
            count()
            return found

        def now(*args, **more):
            count()
            found = right(*args, **more)
            count()
            return found

        monkeypatch.setattr(owner, name, later if is_async else now)

    at_step(Journal, "_append", is_async=False)
    at_step(Link, "call", is_async=True)
    return lambda: counted
