"""Real servers killed by SIGKILL while they take transfers, and while they open their stores.

Payers move billots on and on, as fast as they are answered, and remember every answer. When a
server is back it must still say what it said: that, and nothing else, is asked here. It is what
`test_kills` does a few times and ``scripts/kills`` many times.
"""

import asyncio
import contextlib
import random
import signal
import sys
from dataclasses import dataclass, field

import pytest
from servers import MINT, OTHERS, Raw, connect, free_ports, fresh, holdings, send, signed
from servers import transfer_request as request_of

from billots.errors import Refused, Unreachable
from billots.messages import Fetch, Fetched

IN_FLIGHT = 64
MOVES_MAX = 6
ANSWERS_MAX = 400
DEADLINE_S = 60
WAIT_S = 5
"""A server may starve when others are busier: then it is killed without so many answers."""


@dataclass
class Figures:
    """What came of it. `cut_off`: sent and not answered when the server was killed.

    `unanswered`: conflicts that a busy server said nothing to in time.
    """

    kills: int = 0
    in_recovery: int = 0
    answered: int = 0
    cut_off: int = 0
    looked_at: int = 0
    conflicts_refused: int = 0
    unanswered: int = 0
    lost: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)


class Chain:
    """A billot that honest owners move on: there is one transfer for each of its seqs."""

    def __init__(self, billot):
        self.billot = billot
        self.answered = 0
        self.transfers = []
        self.retired = False

    def owner(self, seq):
        return MINT if seq == 0 else OTHERS[seq % len(OTHERS)]

    def vote(self, seq):
        return (None if seq == 0 else self.owner(seq - 1).owner, self.owner(seq).owner)

    @property
    def sent(self):
        return len(self.transfers)

    def next(self):
        """The transfer that is not answered yet, the same bytes however often it is sent."""
        if self.sent == self.answered:
            row = (self.billot, self.answered + 1)
            self.transfers.append(signed(self.owner(self.sent), self.owner(self.sent + 1), row))
        return self.transfers[-1]

    def rival(self):
        """What its owner of then might sign as well as the last answered transfer."""
        row = (self.billot, self.answered)
        return signed(self.owner(self.answered - 1), self.owner(self.answered + 3), row)


class Payer:
    """Pays at one server, whenever that is up."""

    def __init__(self, figures, in_flight):
        self.figures = figures
        self.in_flight = in_flight
        self.chains = []
        self.moving = {}
        self.more = asyncio.Event()
        self.count = 0

    async def pay(self, address):
        """Pay until the server is gone."""
        async with await Raw.open(address) as raw:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                self._fill()
                for chain in self.moving.values():
                    raw.write(request_of(chain.billot, chain.next()))
                while True:
                    answer = await raw.line()
                    answered = self.moving[answer["id"]]
                    if "error" in answer:
                        name = answer["error"]["data"]["error"]
                        assert name == "not_settled", answer
                    else:
                        self._answered(answered)
                    for chain in [answered, *self._fill()]:
                        if chain.billot in self.moving and not raw.writer.is_closing():
                            raw.write(request_of(chain.billot, chain.next()))
        self.figures.cut_off += sum(chain.sent > chain.answered for chain in self.moving.values())

    def _fill(self):
        """New billots for those that were moved often enough; returns them."""
        for chain in list(self.moving.values()):
            if chain.retired or chain.answered == MOVES_MAX:
                del self.moving[chain.billot]
        new = [Chain(billot) for billot in fresh(self.in_flight - len(self.moving))]
        self.moving.update({chain.billot: chain for chain in new})
        self.chains += new
        return new

    def _answered(self, chain):
        chain.answered = chain.sent
        self.figures.answered += 1
        self.count += 1
        self.more.set()

    async def until(self, count):
        """Wait until so many more were answered."""
        count += self.count
        while self.count < count:
            self.more.clear()
            await self.more.wait()

    async def look(self, address, chains, conflicts=0):
        """Ask the server for what it answered, and offer it the opposite."""
        async with await connect(address) as client:
            for start in range(0, len(chains), 64):
                part = chains[start : start + 64]
                rows = await holdings(client, *[chain.billot for chain in part])
                for chain, row in zip(part, rows, strict=True):
                    self._judge(chain, row)
                causes = [c.transfers[row.seq - 1].id for c, row in zip(part, rows, strict=True)
                          if 0 < row.seq <= c.sent]  # fmt: skip
                if causes:
                    fetched = await client.call("fetch", Fetch(tuple(causes)), Fetched)
                    missing = set(causes) - {transfer.id for transfer in fetched.transfers}
                    self.figures.lost += [f"cause {transfer}" for transfer in missing]
            told = [chain for chain in chains if chain.answered and not chain.retired]
            for chain in told[-conflicts:] if conflicts else ():
                chain.retired = True
                await self._contradict(client, chain)

    def _judge(self, chain, row):
        self.figures.looked_at += 1
        said = f"{chain.billot}: answered {chain.answered}, found {row.seq} {row.status}"
        if row.seq < chain.answered:
            self.figures.lost.append(said)
        elif row.seq > chain.sent or (row.sender, row.owner) != chain.vote(row.seq):
            self.figures.contradicted.append(said)

    async def _contradict(self, client, chain):
        try:
            with pytest.raises(Refused) as refused:
                await send(client, chain.rival())
        except Unreachable:
            self.figures.unanswered += 1
            return
        assert refused.value.name in ("conflicting_transfer", "stale_seq")
        self.figures.conflicts_refused += 1
        (row,) = await holdings(client, chain.billot)
        self._judge(chain, row)


class Victim:
    """A `bserver` in a process of its own, started and killed again and again."""

    def __init__(self, folder, ports, index):
        self.folder = folder / str(index)
        self.folder.mkdir()
        self.errors = folder / f"{index}.stderr"
        self.address = f"127.0.0.1:{ports[index]}"
        trusted = [f"127.0.0.1:{port}" for port in ports if port != ports[index]]
        words = [ports[index], "test", "--data-dir", self.folder, "--log-level", "warning"]
        if trusted:
            words += ["--trusted", ", ".join(trusted)]
        self._words = [sys.executable, "-m", "billots.cli.bserver", *map(str, words)]
        self.process = None

    async def start(self):
        with self.errors.open("ab") as errors:
            self.process = await asyncio.create_subprocess_exec(
                *self._words, stdout=asyncio.subprocess.PIPE, stderr=errors
            )

    async def listening(self):
        line = await self.process.stdout.readline()
        assert line.startswith(b"Listening on "), self.errors.read_text()

    async def end(self, number):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        await self.process.communicate()
        return self.process.returncode

    async def killed_in_recovery(self, changes):
        """Kill it once it changed so much in its store's folder; whether it had not come up."""
        await self.start()
        seen, before = 0, self._files()
        listening = asyncio.create_task(self.process.stdout.readline())
        while seen < changes and not listening.done():
            now = self._files()
            seen, before = seen + (now != before), now
            await asyncio.sleep(0)
        recovering = not listening.done()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await listening
        await self.process.communicate()
        return recovering

    def _files(self):
        found = set()
        for path in self.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                found.add((path.name, path.stat().st_size))
        return found


class Campaign:
    """So many servers that trust each other, and a payer for each."""

    def __init__(self, folder, count, seed):
        ports = free_ports(count)
        self.figures = Figures()
        self.victims = [Victim(folder, ports, index) for index in range(count)]
        self.payers = [Payer(self.figures, IN_FLIGHT // count) for _ in range(count)]
        self._paying = [None] * count
        self._dice = random.Random(seed)

    async def run(self, kills, told=lambda figures: None):
        """Start all, kill one after the other, and look at all of them in the end."""
        try:
            for index in range(len(self.victims)):
                await self.victims[index].start()
                await self._up(index)
            while self.figures.kills < kills:
                async with asyncio.timeout(DEADLINE_S):
                    await self._kill(self._dice.randrange(len(self.victims)))
                told(self.figures)
            await self._finish()
        finally:
            for victim in self.victims:
                if victim.process is not None and victim.process.returncode is None:
                    await victim.end(signal.SIGKILL)
        return self.figures

    async def _up(self, index, conflicts=0):
        """Once it listens, look at what it answered before; then pay there again."""
        victim, payer = self.victims[index], self.payers[index]
        await victim.listening()
        recent = [chain for chain in payer.chains[-512:] if not chain.retired]
        await payer.look(victim.address, recent, conflicts)
        self._paying[index] = asyncio.create_task(payer.pay(victim.address))

    async def _kill(self, index):
        victim, payer, dice = self.victims[index], self.payers[index], self._dice
        paid = asyncio.create_task(payer.until(dice.randint(1, ANSWERS_MAX)))
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait({paid, self._paying[index]}, return_when=first, timeout=WAIT_S)
        paid.cancel()
        assert not self._paying[index].done(), victim.errors.read_text()
        for _ in range(dice.randrange(30)):  # not always just after it answered
            await asyncio.sleep(0)
        await victim.end(signal.SIGKILL)
        await self._paying[index]
        self.figures.kills += 1
        while dice.random() < 0.4:
            self.figures.in_recovery += await victim.killed_in_recovery(dice.randint(1, 6))
            self.figures.kills += 1
        await victim.start()
        await self._up(index, conflicts=2)

    async def _finish(self):
        """Stop paying, and ask for every billot that was ever moved."""
        for paying in self._paying:
            paying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await paying
        async with asyncio.timeout(4 * DEADLINE_S):
            for victim, payer in zip(self.victims, self.payers, strict=True):
                await payer.look(victim.address, payer.chains)
                kept = [chain for chain in payer.chains if chain.answered and not chain.retired]
                await self._agree(kept)
        for victim in self.victims:
            assert await victim.end(signal.SIGTERM) == 0, victim.errors.read_text()
            assert "Traceback" not in victim.errors.read_text()

    async def _agree(self, chains):
        """Wait until all servers have settled what one of them answered; note what doesn't."""
        left = chains
        try:
            async with asyncio.timeout(DEADLINE_S / 2):
                for victim in self.victims:
                    async with await connect(victim.address) as client:
                        for start in range(0, len(chains), 256):
                            left = chains[start : start + 256]
                            while left:
                                rows = await holdings(client, *[chain.billot for chain in left])
                                left = [
                                    chain
                                    for chain, row in zip(left, rows, strict=True)
                                    if row.seq < chain.answered or row.status != "settled"
                                ]
        except TimeoutError:
            self.figures.stuck += [f"{chain.billot}: not settled" for chain in left]
