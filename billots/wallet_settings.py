"""What a wallet is told: its key, whom it trusts, where its own files are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from billots.circle import Circle
from billots.contacts import Contacts
from billots.crypto import PrivateKey, load_public_key, owner_id
from billots.errors import KeyFileError
from billots.host import Host, parse_hosts
from billots.keeping import Keeper
from billots.kept_receipts import KeptReceipts
from billots.known_servers import KnownServers
from billots.network import Network
from billots.quorum import Quorum
from billots.sending import Sender
from billots.transfer import Transfer

DEFAULT_SERVER = "mint1.billots.org:7333"
DEFAULT_TRUSTED = "mint1.billots.org:7333, mint2.billots.org:7334, mint3.billots.org:7335"


class WalletSettings:
    """See `billots.async_wallet.AsyncWallet`. Nothing is read before a verb needs it."""

    def __init__(
        self,
        *,
        keyfile: str | Path = "key",
        passphrase: str | None = None,
        server: Host | str | None = None,
        trusted: str | Iterable[Host | str] | None = None,
        quorum: str | Quorum = "safe",
        network: Network | None = None,
        timeout_s: float = 5.0,
        data_dir: str | Path | None = None,
        command: str = "bwallet",
        now: Callable[[], float] = time.time,
    ) -> None:
        self.keyfile = Path(keyfile)
        self.quorum = quorum if isinstance(quorum, Quorum) else Quorum(quorum)
        self.network = network
        self.timeout_s = timeout_s
        self.command = command
        self._now = now
        self._passphrase = passphrase
        self._data_dir = Path(data_dir) if data_dir is not None else None
        words = trusted if trusted is None or isinstance(trusted, str) else map(str, trusted)
        self._trusted = parse_hosts(words) if words is not None else None
        self._server = Host.parse(str(server)) if server is not None else None

    @property
    def trusted(self) -> list[Host]:
        """The list that `check_owner` counts."""
        return self._trusted if self._trusted is not None else parse_hosts(DEFAULT_TRUSTED)

    @property
    def server(self) -> Host:
        """Where transfers go first."""
        if self._server is not None:
            return self._server
        return self._trusted[0] if self._trusted else Host.parse(DEFAULT_SERVER)

    def _sender(self, on_signed: Callable[[Transfer], None] | None) -> Sender:
        key = PrivateKey.load(self.keyfile, self._passphrase)
        keeper = Keeper(KeptReceipts(self._data_dir), key.owner, self._now)
        return Sender(
            key, self._data_dir, self.command, self.timeout_s, keeper, on_signed, now=self._now
        )

    @property
    def _contacts(self) -> Contacts:
        return Contacts(self._data_dir)

    def _keeper(self) -> Keeper:
        try:
            owner: str | None = owner_id(load_public_key(self.keyfile))
        except KeyFileError:
            owner = None
        return Keeper(KeptReceipts(self._data_dir), owner, self._now)

    @property
    def _near(self) -> list[Host]:
        if self._trusted is None and self._server is not None:
            return [self._server]
        return self.trusted

    def _circle(
        self,
        hosts: list[Host],
        quorum: Quorum,
        server: Host | None = None,
        network: Network | None = None,
    ) -> Circle:
        return Circle(
            hosts,
            quorum=quorum,
            known=KnownServers(self._data_dir),
            network=network or self.network,
            timeout_s=self.timeout_s,
            server=server,
        )
