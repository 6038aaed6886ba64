"""One currency: its denominations, its issuer, who was allocated what (DESIGN, section 2).

Money is counted in *mils*, integers: value × 1000. A billot id is its prefix and a number in
the denomination's circulation; billots that never moved need no record, because the network
alone says whose they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from billots.errors import BillotIdError, NetworkFileError, OwnerIdError
from billots.lazy import lazy

SHIPPED = ("main", "test")
_NETWORK_KEYS = ("name", "issuer", "denominations", "allocations", "faucet")
_DENOMINATION_KEYS = ("prefix", "value", "circulation")
ROWS_MAX = 256
"""Billots in one transfer, ids in one question."""
NUMBER_MAX = 10**12
_DIGITS_MAX = 14
MILS_MAX = 10**12

_BILLOT_ID = re.compile(r"([a-z]{1,3}-)([1-9][0-9]{0,17})", re.ASCII)
_PREFIX = re.compile(r"[a-z]{1,3}-", re.ASCII)
_OWNER_ID = re.compile(r"[0-9a-f]{128}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", re.ASCII)
_VALUE = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,3}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Denomination:
    """Billots of one value: `mils` each, numbered 1 to `circulation`."""

    prefix: str
    mils: int
    circulation: int


def split_billot_id(billot: str) -> tuple[str, int]:
    """``a-1`` as ``("a-", 1)``, which is also the order in which billots are sorted.

    Raises BillotIdError unless the id is canonical; whether its number circulates is for
    `Network.check`.
    """
    match = _BILLOT_ID.fullmatch(billot)
    if match is None:
        raise BillotIdError(
            f"not a billot id: {shown(billot)}",
            "an id is lower-case letters, a dash and a number from 1 on: a-1",
        )
    return match[1], int(match[2])


def check_owner_id(owner: str) -> str:
    """The owner id itself; raises OwnerIdError unless it is 128 lower-case hex digits."""
    if _OWNER_ID.fullmatch(owner) is None:
        if _OWNER_ID.fullmatch(owner.lower()):
            raise OwnerIdError(
                f"not an owner id: {shown(owner)}", "an owner id is written in lower case"
            )
        raise OwnerIdError(
            f"not an owner id: {shown(owner)}",
            "an owner id is 128 hex digits; bwallet --hash prints yours",
        )
    return owner


def shown(text: str, length_max: int = 40) -> str:
    """Somebody else's text, escaped and cut so that it can go to a terminal or a log."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return escaped if len(escaped) <= length_max else escaped[: length_max - 1] + "…"


def format_mils(mils: int) -> str:
    """Mils as a decimal value without noise: 5 is ``0.005``, 100000 is ``100``."""
    sign, mils = ("-", -mils) if mils < 0 else ("", mils)
    whole, rest = divmod(mils, 1000)
    return f"{sign}{whole}" + (f".{rest:03d}".rstrip("0") if rest else "")


def parse_mils(value: str) -> int:
    """A decimal value with at most three places as mils; raises ValueError."""
    match = _VALUE.fullmatch(value)
    if match is None:
        raise ValueError(f"not a value with at most three decimals: {shown(value)}")
    return int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0"))


@dataclass(frozen=True)
class Network:
    """A currency. Immutable; two networks are the same if their ids are.

    `faucet`: its file says that billots may be given to whoever asks. No rule of the ledger, so
    the id doesn't depend on it.
    """

    name: str
    denominations: Mapping[str, Denomination]
    issuer: str | None
    allocations: Mapping[str, str]
    faucet: bool = False

    @classmethod
    def shipped(cls, name: str) -> Network:
        """The network ``main`` or ``test`` that comes with the package."""
        if name not in SHIPPED:
            raise NetworkFileError(
                f"no such network: {shown(name)}", "shipped are: " + ", ".join(SHIPPED)
            )
        text = resources.files("billots").joinpath(f"networks/{name}.toml").read_text("utf-8")
        return cls.parse(text)

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read a network file; raises NetworkFileError."""
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise NetworkFileError(
                f"can't read network file {shown(str(path), 200)}: {reason}"
            ) from error
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> Network:
        """A network from the text of its TOML file; raises NetworkFileError."""
        import tomllib  # only who reads a network pays for it

        try:
            fields = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # also a number of 5,000 digits
            raise NetworkFileError(f"network file is not TOML: {error}") from error
        return cls.from_fields(fields)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Network:
        """A network from the fields of its file, each of them checked."""
        _refuse_unknown(fields, _NETWORK_KEYS)
        name = fields.get("name")
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise NetworkFileError("network file: name must be 1 to 32 of A-Z a-z 0-9 . _ -")
        issuer = fields.get("issuer")
        allocations = fields.get("allocations", {})
        table = fields.get("denominations")
        if not isinstance(table, list) or not table or not isinstance(allocations, dict):
            raise NetworkFileError(
                "network file: needs [[denominations]]; [allocations] is a table"
            )
        denominations: dict[str, Denomination] = {}
        for row in table:
            denomination = _denomination(row)
            if denomination.prefix in denominations:
                raise NetworkFileError(f"network file: {denomination.prefix} is there twice")
            denominations[denomination.prefix] = denomination
        faucet = fields.get("faucet", False)
        if not isinstance(faucet, bool):
            raise NetworkFileError("network file: faucet must be true or false")
        ordered = dict(sorted(denominations.items()))
        network = cls(name, ordered, issuer, dict(allocations), faucet)
        try:
            if issuer is not None:
                check_owner_id(_text(issuer))
            for billot, owner in allocations.items():
                network.check(billot)
                check_owner_id(_text(owner))
        except (BillotIdError, OwnerIdError) as error:
            raise NetworkFileError(f"network file: {error}") from error
        return network

    @lazy
    def canonical(self) -> str:
        """The text whose hash is the network's id."""
        lines = ["billots network 1", f"name {self.name}", f"issuer {self.issuer or '-'}"]
        lines += [f"{d.prefix} {d.mils} {d.circulation}" for d in self.denominations.values()]
        lines += [
            f"allocate {billot} {self.allocations[billot]}"
            for billot in sorted(self.allocations, key=split_billot_id)
        ]
        return "".join(line + "\n" for line in lines)

    @lazy
    def id(self) -> str:
        """32 hex digits that stand for all of this network's rules."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()[:32]

    def check(self, billot: str) -> tuple[str, int]:
        """The billot's (prefix, number); raises BillotIdError if it doesn't circulate here."""
        letters, _, digits = billot.partition("-")
        known = self._by_letters.get(letters)
        if known is not None and digits.isdecimal() and digits.isascii() and digits[0] != "0":
            number = int(digits) if len(digits) < _DIGITS_MAX else 0
            if 0 < number <= known.circulation:
                return known.prefix, number
        return self._checked(billot)  # slower, and it says what is wrong

    def _checked(self, billot: str) -> tuple[str, int]:
        prefix, number = split_billot_id(billot)
        denomination = self.denominations.get(prefix)
        if denomination is None:
            known = " ".join(self.denominations)
            raise BillotIdError(
                f"no such billot in network {self.name}: {billot}", f"it has {known}"
            )
        if number > denomination.circulation:
            raise BillotIdError(
                f"no such billot in network {self.name}: {billot}",
                f"its {prefix} billots are numbered 1 to {denomination.circulation}",
            )
        return prefix, number

    def mils(self, billot: str) -> int:
        """The billot's value in mils; raises BillotIdError."""
        return self.denominations[self.check(billot)[0]].mils

    def value(self, billot: str) -> str:
        """The value of a billot of this network as people read it: ``0.005``, ``100``."""
        return self.values[billot[: billot.index("-")]]

    @lazy
    def _by_letters(self) -> dict[str, Denomination]:
        return {prefix[:-1]: found for prefix, found in self.denominations.items()}

    @lazy
    def values(self) -> dict[str, str]:
        """What `value` says, by the letters of a prefix: for many billots at once."""
        return {letters: format_mils(found.mils) for letters, found in self._by_letters.items()}

    def first_owner(self, billot: str) -> str | None:
        """Who owns the billot as long as it never moved; ``None`` if it is unissued."""
        return self.allocations.get(billot, self.issuer)

    def total_mils(self, billots: Iterable[str]) -> int:
        """The value of these billots together, in mils, exact."""
        return sum(self.mils(billot) for billot in billots)

    def allocated_to(self, owner: str) -> Iterator[str]:
        """The billots allocated to an owner by name, in order."""
        mine = (billot for billot, who in self.allocations.items() if who == owner)
        return iter(sorted(mine, key=split_billot_id))


def _denomination(row: object) -> Denomination:
    if not isinstance(row, dict):
        raise NetworkFileError("network file: a denomination is a table")
    _refuse_unknown(row, _DENOMINATION_KEYS)
    prefix, value, circulation = (row.get(key) for key in ("prefix", "value", "circulation"))
    if not isinstance(prefix, str) or _PREFIX.fullmatch(prefix) is None:
        raise NetworkFileError("network file: a prefix is one to three letters a-z and a dash")
    try:
        mils = parse_mils(value if isinstance(value, str) else "")
    except ValueError as error:
        raise NetworkFileError(f'network file: {prefix} value must be text like "0.005"') from error
    if not 0 < mils <= MILS_MAX:
        raise NetworkFileError(f"network file: {prefix} value is out of range")
    if type(circulation) is not int or not 0 < circulation <= NUMBER_MAX:
        raise NetworkFileError(f"network file: {prefix} circulation must be 1 to {NUMBER_MAX}")
    return Denomination(prefix, mils, circulation)


def _refuse_unknown(fields: Mapping[str, Any], known: Sequence[str]) -> None:
    """A key that is misspelt would make another network without a word."""
    unknown = next((key for key in fields if key not in known), None)
    if unknown is not None:
        raise NetworkFileError(
            f"network file: unknown key {shown(unknown)}", "known are: " + ", ".join(known)
        )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise NetworkFileError("network file: an owner id is text")
    return value
