"""Whatever is asked, in whatever order, with crashes and wrong clocks in between: limits hold.

Time that really passed is the test's own. The book sees a steady clock that begins anew with each
start, and a wall clock that may be put back, but never runs ahead.
"""

import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from billots.faucet_book import FaucetBook, Record
from billots.rationing import DAY_MS, HOUR_MS, Ration

NETWORK_ID = "0" * 32
OWNERS = [letter * 128 for letter in "abcd"]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(
            st.just("wait"),
            st.sampled_from([1, 1_000, HOUR_MS - 1, HOUR_MS, HOUR_MS + 1, DAY_MS // 2, DAY_MS]),
            st.just(0),
        ),
        st.tuples(st.just("crash"), st.integers(0, 2 * HOUR_MS), st.booleans()),
        st.tuples(st.just("wall"), st.sampled_from([0, HOUR_MS, 3 * DAY_MS]), st.just(0)),
        st.tuples(st.just("void"), st.just(0), st.just(0)),
    ),
    min_size=10,
    max_size=70,
)
rations = st.builds(
    Ration,
    gives=st.just(1_000),
    per_hour=st.sampled_from([1_000, 3_500, 5_000]),
    per_owner=st.integers(1, 3),
    per_address=st.integers(1, 4),
)


class Faucet:
    """A book, and the true history of what it granted."""

    def __init__(self, folder, ration):
        self.folder, self.ration = folder, ration
        self.true_ms = 1_800_000_000_000
        self.behind_ms = 0
        self.granted = []
        self.start()

    def start(self):
        self.started_ms = self.true_ms
        wall_ms = self.true_ms - self.behind_ms
        self.book = FaucetBook.open(
            NETWORK_ID, self.ration, wall_ms=wall_ms, steady_ms=77, directory=self.folder
        )

    @property
    def steady_ms(self):
        return 77 + self.true_ms - self.started_ms

    def step(self, kind, first, second):
        match kind:
            case "ask":
                got = self.book.grant(OWNERS[first], f"address {second}", self.steady_ms)
                if isinstance(got, Record):
                    self.granted.append((self.true_ms, OWNERS[first], second, got))
            case "wait":
                self.true_ms += first
            case "wall":
                self.behind_ms = first
            case "void" if self.granted:
                self.book.void(self.granted.pop()[3])
            case "crash":
                self.book.close()
                if second:
                    with self.book.path.open("ab") as file:
                        file.write(b'{"kind":"gra')
                self.true_ms += first
                self.start()

    def check(self):
        for at_ms, owner, address, _ in self.granted:
            day = [g for g in self.granted if at_ms <= g[0] < at_ms + DAY_MS]
            hour = [g for g in self.granted if at_ms <= g[0] < at_ms + HOUR_MS]
            assert sum(g[1] == owner for g in day) <= self.ration.per_owner
            assert sum(g[2] == address for g in day) <= self.ration.per_address
            assert len(hour) * self.ration.gives <= self.ration.per_hour


@settings(deadline=None, max_examples=150)
@given(rations, steps)
def test_attack_no_order_of_questions_crashes_and_clocks_lifts_a_limit(ration, played):
    with tempfile.TemporaryDirectory() as folder:
        faucet = Faucet(folder, ration)
        for step in played:
            faucet.step(*step)
        faucet.check()
        faucet.true_ms += DAY_MS  # and nobody is locked out for longer than a day
        before = len(faucet.granted)
        faucet.step("ask", 0, 0)
        assert len(faucet.granted) == before + 1
        faucet.book.close()


def test_the_check_sees_a_book_that_forgets():
    with tempfile.TemporaryDirectory() as folder:
        faucet = Faucet(folder, Ration(1_000, 5_000, 1, 4))
        for _ in range(2):
            faucet.step("ask", 0, 0)
            faucet.book.close()
            faucet.book.path.unlink()
            faucet.start()
        try:
            faucet.check()
        except AssertionError:
            return
        finally:
            faucet.book.close()
        raise AssertionError("two grants of one owner in a day were not noticed")
