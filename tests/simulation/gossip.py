"""What travels between servers: nothing twice."""

import msgspec

from billots.messages import Pair
from billots.transfer import conflict
from simulation.record import Broken

_CONFLICT = b'{"jsonrpc":"2.0","method":"conflict"'
_TRANSFER = b'"method":"transfer"'
_SHOWN = b'"method":"conflict"'


class _Signed(msgspec.Struct):
    signature: str


class _Sent(msgspec.Struct):
    params: _Signed


class _Both(msgspec.Struct):
    first: _Signed
    second: _Signed


class _Heard(msgspec.Struct):
    params: _Both


class _Told(msgspec.Struct):
    params: Pair


_sent = msgspec.json.Decoder(_Sent)
_heard = msgspec.json.Decoder(_Heard)
_told = msgspec.json.Decoder(_Told)


class Gossip:
    """Looks at what honest servers hear and say."""

    def __init__(self):
        self._brought = set()
        self._passed = {}
        self.bodies = 0

    def hears(self, server, frame):
        """A frame that reaches a server, before it reads it."""
        if _TRANSFER in frame[:48]:
            self._brought.add((server.key_hex, _sent.decode(frame).params.signature))
        elif _SHOWN in frame[:48]:
            pair = _heard.decode(frame).params
            for transfer in (pair.first, pair.second):
                self._brought.add((server.key_hex, transfer.signature))

    def says(self, server, end, frame):
        """A conflict is passed on once to each, for each billot that it is news for."""
        if not frame.startswith(_CONFLICT):
            return
        pair = _told.decode(frame).params
        told = (server.key_hex, server.run, end.conn, *sorted((pair.first.id, pair.second.id)))
        self._passed[told] = times = self._passed.get(told, 0) + 1
        if times > len(conflict(pair.first, pair.second)):  # it may be news for each billot
            raise Broken("said once", f"{server} tells s{end.other.place} the same again")

    def bodies_sent(self, server, batch):
        """A body travels with the feed of the server that a wallet brought it to, once."""
        for transfer in batch.transfers:
            self.bodies += 1
            if (server.key_hex, transfer.signature) not in self._brought:
                raise Broken("bodies travel once", f"{server} sends what nobody brought to it")
