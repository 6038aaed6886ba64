"""Several nodes in one process: real keys and signatures, no I/O, a clock that is told.

Nothing moves by itself. `quiet` carries everything until nobody has anything to say, `run`
lets time pass as well; `deliver`, `Wire.frames` and `hold` are for tests that choose what
arrives when, twice or never.
"""

from collections import deque

import msgspec

from billots.crypto import PrivateKey, verify
from billots.feed import AdoptedRow, FeedBatch, TransferRow
from billots.holding import Holding, Status
from billots.host import Host
from billots.jsonrpc import encode, notification
from billots.limits import Limits
from billots.messages import SendTransfer
from billots.network import Network
from billots.node import Node, Settings
from billots.receipt import FeedVote, Receipt, SignedVote
from billots.statement import NULL, Statement
from billots.store import Batch, Memory, MemoryStore
from billots.transfer import Transfer

MINT, ANN, BOB, CAT, DAN, EVE = KEYS = [PrivateKey(bytes([n]) * 32) for n in range(1, 7)]
SERVER_KEYS = [PrivateKey(bytes([100 + n]) * 32) for n in range(20)]
STRANGER = PrivateKey(b"s" * 32)


def a_network(**changes):
    fields = {
        "name": "unit",
        "issuer": MINT.owner,
        "denominations": [
            {"prefix": "a-", "value": "1", "circulation": 20000},
            {"prefix": "b-", "value": "0.5", "circulation": 10},
        ],
        "allocations": {"b-3": ANN.owner, "b-5": ANN.owner, "b-7": BOB.owner},
    }
    return Network.from_fields(fields | changes)


NET = a_network()
OTHER = a_network(name="other")
NO_ISSUER = a_network(issuer=None)


def sign(key, to, *rows, network=NET):
    """A transfer by `key` to the owner of the key `to`; a row is "a-1 5" or ("a-1", 5)."""
    pairs = [(row.split()[0], int(row.split()[1])) if isinstance(row, str) else row for row in rows]
    return Transfer.sign(network, key, to.owner, pairs)


def forged(transfer):
    """The same transfer under a signature that doesn't hold."""
    wrong = f"{int(transfer.signature[0], 16) ^ 1:x}" + transfer.signature[1:]
    return msgspec.structs.replace(transfer, signature=wrong)


# Votes and receipts, as servers sign them


def row(lsn, transfer, *billots):
    """A feed row that names a transfer."""
    return TransferRow(lsn, transfer.id, billots)


def adopted(lsn, transfer, billot):
    """A feed row that says that a billot was adopted with this transfer."""
    return AdoptedRow(lsn, billot, dict(transfer.billots)[billot], transfer.sender, transfer.to)


def held(transfer, billot, status=Status.HELD):
    """What a server has of a billot that took this transfer."""
    return Holding(dict(transfer.billots)[billot], transfer.sender, transfer.to, status)


def stated(key, transfer, *billots, status=Status.HELD, network=NET):
    """A vote for rows of a transfer (all of them by default), by a statement."""
    rows = [(b, held(transfer, b, status)) for b in billots or [b for b, _ in transfer.billots]]
    made = Statement.make(network, key.public_hex, rows).sign(key, "5a" * 16)
    return SignedVote(statement=made.signed())


def claimed(key, transfer, *billots):
    """A vote that says that it is settled, too."""
    return stated(key, transfer, *billots, status=Status.SETTLED)


def fed(key, feed_row, network=NET):
    """A vote by one row of a feed batch, with others around it."""
    around = [TransferRow(n, f"{n:064x}") for n in range(1, feed_row.lsn)]
    batch = FeedBatch.sign(network.id, key, [*around, feed_row])
    return SignedVote(feed=FeedVote.of(batch, len(around)))


def receipt(transfer, *votes):
    return Receipt(transfer, votes)


class Wire:
    """One direction of a connection: frames on their way, in order."""

    def __init__(self, to, conn):
        self.to = to
        self.conn = conn
        self.frames = deque()
        self.hold = False

    def deliver(self, count=None):
        for _ in range(len(self.frames) if count is None else count):
            self.to.receive(self.conn, self.frames.popleft())


class Server:
    """A node over a store in memory that survives a crash."""

    def __init__(self, net, number, key, settings, network=NET, *, blank=False):
        self.net, self.number, self.key, self.settings = net, number, key, settings
        self.network = network
        self.memory = Memory()
        if not blank:  # one that has read all there was to read
            batch = Batch.empty()
            batch.meta["read"] = b"1"
            MemoryStore(network, self.memory).commit(batch)
        self.start()

    def start(self):
        self.up = True
        self.store = MemoryStore(self.network, self.memory)
        self.node = Node(self.network, self.store, self.key, self.settings)
        self.ends = {}  # our connection id -> the Wire or Client that it goes to
        self.committed = 0

    def crash(self):
        """Everything that isn't on disk is gone."""
        self.up = False
        for conn in list(self.ends):
            self.net.cut(self, conn)

    @property
    def place(self):
        return self.net.host(self.number)

    def receive(self, conn, *frames):
        if self.up and conn in self.ends:
            self.node.received(conn, frames, self.net.now)

    def begin(self):
        """The first half of a round: what is to be committed (None if nothing is)."""
        checks = self.node.checks()
        return self.node.judge([verify(*check) for check in checks], self.net.now)

    def end(self, batch):
        if batch is not None:
            self.store.commit(batch)
            self.committed += 1
        self.node.committed(self.net.now, written=batch is not None)

    def step(self):
        """What a driver does when it wakes; whether anything came of it."""
        node = self.node
        node.tick(self.net.now)
        worked = node.has_work
        if worked or node.flush_due:
            self.end(self.begin())
        node.pump(self.net.now)
        return self.flush() or worked

    @property
    def is_due(self):
        """Whether it has something to do before time goes on."""
        at = self.node.next_at
        return self.node.has_work or (at is not None and at <= self.net.now)

    def flush(self):
        out, self.node.out = self.node.out, {}
        for conn, messages in out.items():
            end = self.ends.get(conn)
            if end is not None:
                end.frames.extend(messages)
        hangups, self.node.hangups = self.node.hangups, set()
        for conn in hangups:
            self.net.cut(self, conn)
        return bool(hangups or any(out.values()))

    def client(self, address="192.0.2.1", *, exempt=False):
        return Client(self, address, exempt=exempt)

    def holding(self, billot):
        return self.node.ledger.holdings([billot])[0]

    def shows(self, billot):
        """(seq, owner, status) as it may be said."""
        holding = self.holding(billot)
        return holding.seq, holding.owner, holding.status.value

    def state(self):
        billots = [
            f"{prefix}{number}"
            for prefix in NET.denominations
            for number in self.store.numbers_moved(prefix, 1, 10_000)
        ]
        return {billot: self.shows(billot) for billot in billots}


class Client:
    """Somebody who connected to a server."""

    def __init__(self, server, address="192.0.2.1", *, exempt=False):
        self.server = server
        self.frames = []
        self.conn = server.net.new_conn()
        server.ends[self.conn] = self
        server.node.opened(self.conn, address, exempt=exempt)

    def send(self, *frames):
        self.server.receive(self.conn, *frames)

    def step(self):
        for _ in range(10_000):
            self.server.step()
            if not self.server.is_due:
                return self.read()
        raise AssertionError("it is due for ever")

    def read(self):
        self.server.flush()
        frames, self.frames = self.frames, []
        return [msgspec.json.decode(frame) for frame in frames]

    def raw(self, frame):
        """What comes back for one frame, as JSON values."""
        self.send(frame)
        return self.step()

    def answer(self, method, params=None):
        encoded = b"" if params is None else b',"params":' + msgspec.json.encode(params)
        answers = self.raw(b'{"jsonrpc":"2.0","id":7,"method":"%s"%s}' % (method.encode(), encoded))
        found = [answer for answer in answers if answer.get("id") == 7]
        self.others = [answer for answer in answers if answer.get("id") != 7]
        assert len(found) <= 1
        return found[0] if found else None

    def ask(self, method, params=None):
        answer = self.answer(method, params)
        assert "result" in answer, answer
        return answer["result"]

    def fails(self, method, params=None):
        """(code, data) of the error that a call must come to."""
        error = self.answer(method, params)["error"]
        return error["code"], error.get("data")

    def transfer(self, transfer, **more):
        return self.answer("transfer", fields(SendTransfer.of(transfer)) | more)

    def settle(self, *receipts, **more):
        return self.answer("settle", {"receipts": fields(receipts)} | more)

    def says(self, billot, **more):
        """The row of a statement on one billot."""
        return self.ask("who_owns", {"billots": [billot]} | more)["billots"][0]

    def notifications(self, method):
        return [m["params"] for m in self.step() if m.get("method") == method]

    def close(self):
        self.server.net.cut(self.server, self.conn)


def fields(value):
    return msgspec.json.decode(msgspec.json.encode(value))


class Net:
    """`size` servers that all trust each other, unless `trusted` says who trusts whom."""

    def __init__(
        self, size=1, *, limits=None, trusted=None, domain="127.0.0.1", pins=False, blank=()
    ):
        self.now = 1000.0
        self.domain, self.pins = domain, pins
        self._conns = 1
        self.limits = limits or Limits()
        self.servers = []
        for number in range(size):
            names = trusted[number] if trusted else [n for n in range(size) if n != number]
            settings = Settings(
                trusted=tuple(self.host(n) if isinstance(n, int) else n for n in names),
                limits=self.limits,
                port=7000 + number,
            )
            self.servers.append(
                Server(self, number, SERVER_KEYS[number], settings, blank=number in blank)
            )

    def __getitem__(self, number):
        return self.servers[number]

    def host(self, number):
        key = SERVER_KEYS[number].public_hex if self.pins else None
        return Host(self.domain, 7000 + number, key)

    def new_conn(self):
        self._conns += 1
        return self._conns

    # -- connections

    def dial(self, caller, index, server):
        """Connect entry `index` of the caller's list to a server; (its end, the server's)."""
        mine, theirs = self.new_conn(), self.new_conn()
        caller.ends[mine] = Wire(server, theirs)
        server.ends[theirs] = Wire(caller, mine)
        server.node.opened(theirs, "127.0.0.1", exempt=True)
        caller.node.links.opened(mine, index)
        return mine, theirs

    def link(self, caller, server):
        """`caller` dials `server` by its place in the list."""
        places = [entry.host.place for entry in caller.node.trust.entries]
        return self.dial(caller, places.index(server.place.place), server)

    def mesh(self):
        for caller in self.servers:
            for server in self.servers:
                if caller is not server and caller.up and server.up:
                    self.link(caller, server)
        self.quiet()

    def rejoin(self, server):
        """A server that was down starts over what it had on disk; all dial all again."""
        server.start()
        for other in self.servers:
            if other is not server and other.up:
                self.link(server, other)
                self.link(other, server)
        self.quiet()

    def cut(self, server, conn):
        end = server.ends.pop(conn, None)
        if end is None:
            return
        server.node.closed(conn)
        if isinstance(end, Wire) and end.to.ends.pop(end.conn, None) is not None:
            end.to.node.closed(end.conn)

    def cut_all(self, server):
        for conn, end in list(server.ends.items()):
            if isinstance(end, Wire):
                self.cut(server, conn)

    @property
    def wires(self):
        return [
            end
            for server in self.servers
            for end in server.ends.values()
            if isinstance(end, Wire) and end.frames and not end.hold
        ]

    def between(self, server, other):
        """The wires that carry frames from one server to another."""
        ends = server.ends.values()
        return [end for end in ends if isinstance(end, Wire) and end.to is other]

    # -- time

    def quiet(self):
        """Carry everything, in the order in which it was said, until nobody says more."""
        for _ in range(10_000):
            worked = [server.step() for server in self.servers if server.up]
            wires = self.wires
            for wire in wires:
                wire.deliver()
            if not wires and not any(worked):
                return
        raise AssertionError("no rest")

    def shuffle(self, rng):
        """Carry everything, one frame at a time in any order that the wires allow."""
        for _ in range(100_000):
            wires = self.wires
            busy = [server for server in self.servers if server.up and server.node.has_work]
            if not wires and not busy:
                steps = [server.step() for server in self.servers if server.up]
                if not any(steps):
                    return
                continue
            if wires and (not busy or rng.random() < 0.6):
                rng.choice(wires).deliver(1)
            else:
                rng.choice(busy).step()
        raise AssertionError("no rest")

    def run(self, seconds):
        """Let time pass, timer by timer."""
        end = self.now + seconds
        while True:
            self.quiet()
            times = [server.node.next_at for server in self.servers if server.up]
            at = min((at for at in times if at is not None), default=end + 1)
            if max(at, self.now) > end:
                self.now = end
                self.quiet()
                return
            self.now = max(at, self.now + 0.001)


class Peer:
    """A trusted server that is played by the test: it says what it is told to say."""

    def __init__(self, net, server, index, key=None, *, follow=True):
        self.net, self.server = net, server
        self.key = key or SERVER_KEYS[10 + index]
        self.frames = deque()
        self.conn = net.new_conn()
        server.ends[self.conn] = self
        server.node.links.opened(self.conn, index)
        self.sent = []
        self.lsn = None  # how far its feed goes, once it is followed
        if follow:
            self.follow()

    @property
    def up(self):
        return self.conn in self.server.ends

    def read(self):
        """What the server said to it since."""
        self.server.flush()
        said = [msgspec.json.decode(frame) for frame in self.frames]
        self.frames.clear()
        return [request for request in said if not self.tells_position(request)]

    def tells_position(self, request):
        """Answer one who reads its feed and asks how far it goes now."""
        asked = self.lsn is not None and request.get("method") == "info"
        if asked:
            self.reply(request, self.info(lsn=self.lsn))
            self.server.step()
        return asked

    def step(self):
        self.server.step()
        return self.read()

    def say(self, frame):
        self.server.receive(self.conn, frame)

    def reply(self, request, result):
        self.say(msgspec.json.encode({"jsonrpc": "2.0", "id": request["id"], "result": result}))

    def fail(self, request):
        error = {"code": -32601, "message": "no"}
        self.say(msgspec.json.encode({"jsonrpc": "2.0", "id": request["id"], "error": error}))

    def info(self, **changes):
        info = self.server.net[0].client(exempt=True).ask("info")
        return info | {"server": self.key.public_hex} | changes

    def introduce(self, **changes):
        """Answer `info`; the request for a proof that comes then."""
        (request,) = self.read()
        assert request["method"] == "info"
        self.reply(request, self.info(**changes))
        (request,) = self.step()
        return request

    def proof(self, request, key=None):
        """A statement under the nonce of this request, signed with the peer's key."""
        assert request["method"] == "who_owns"
        key, params = key or self.key, request["params"]
        holdings = [(b, Holding(0, None, MINT.owner, Status.SETTLED)) for b in params["billots"]]
        return fields(Statement.make(NET, key.public_hex, holdings).sign(key, params["nonce"]))

    def follow(self, *, lsn=0, yours=None, **changes):
        """Answer `info`, prove the key, answer `subscribe`; what it was asked to send since.

        `lsn` is how far its feed goes, `yours` the newest batch that it has of the server.
        """
        request = self.introduce(**changes)
        self.reply(request, self.proof(request))
        (request,) = self.step()
        assert request["method"] == "subscribe"
        self.reply(request, {"lsn": lsn, "yours": None if yours is None else fields(yours)})
        self.lsn = lsn
        self.announced = self.step()
        return request["params"]

    # -- consults

    def asked(self):
        """What it was asked in consults since it was read last."""
        said = self.step()
        return [m for m in said if m.get("method") == "who_owns" and m["params"].get("consult")]

    def statement(self, request, known=None, *, receipts=None, key=None):
        """An answer to a consult.

        `known` are what it has: by billot a transfer, a (transfer, status) or a holding alone;
        it has nothing of the others. `receipts` are what it shows for them.
        """
        key, params = key or self.key, request["params"]
        holdings, proofs = [], []
        for billot in params["billots"]:
            holding = Holding(0, None, NET.first_owner(billot), Status.SETTLED)
            has, body = (known or {}).get(billot, holding), None
            if isinstance(has, Transfer):
                has = has, Status.HELD
            if isinstance(has, tuple):
                body, holding = has[0], held(has[0], billot, has[1])
            else:
                holding = has
            shown = (receipts or {}).get(billot)
            holdings.append((billot, holding))
            proofs.append((body, NULL if shown is None else msgspec.Raw(encode(shown))))
        made = Statement.make(NET, key.public_hex, holdings, proofs)
        return fields(made.sign(key, params["nonce"]))

    def states(self, request, known=None, **more):
        """Answer a consult; and let the server work."""
        self.reply(request, self.statement(request, known, **more))
        self.server.step()

    def batch(self, *rows, bodies=(), key=None):
        return FeedBatch.sign(NET.id, key or self.key, rows, bodies)

    def feed(self, *rows, bodies=()):
        """Say feed rows, with bodies; and let the server work."""
        self.lsn = max([self.lsn or 0, *(row.lsn for row in rows)])
        self.say(notification("feed", self.batch(*rows, bodies=bodies)))
        return self.step()

    def conflict(self, first, second):
        self.say(notification("conflict", msgspec.json.encode({"first": first, "second": second})))
        return self.step()


def alone_with(count, *, limits=None, domain="127.0.0.1", blank=False, **peer):
    """One node, and `count` trusted servers that the test plays."""
    hosts = [Host(domain, 8000 + number) for number in range(count)]
    net = Net(1, trusted=[hosts], limits=limits, domain=domain, blank=(0,) if blank else ())
    return net, net[0], [Peer(net, net[0], number, **peer) for number in range(count)]


def requests(said, method):
    """The requests of one method among what was said to a peer."""
    return [message for message in said if message.get("method") == method]


def error(answer):
    """The name of the error that an answer is."""
    return answer["error"]["data"]["error"]


def submit(server, *transfers):
    """Transfers that a wallet brings, each of which is taken."""
    for transfer in transfers:
        answer = server.client(exempt=True).transfer(transfer)
        assert answer.get("result", {}).get("accepted"), answer
