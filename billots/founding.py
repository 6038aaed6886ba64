"""A currency of one's own: its network file, from a name, an issuer and denominations."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from billots.errors import NetworkFileError
from billots.network import Network, format_mils, shown
from billots.user_data import write_new_file


def found(
    name: str, issuer: str, *, denominations: Path | None = None, faucet: bool = False
) -> Network:
    """A new currency, which everything in it belongs to `issuer` (an owner id) of.

    `denominations` is a TOML file with ``[[denominations]]``, as in a network file, and nothing
    else; without it they are those of the network ``main``. Raises NetworkFileError, OwnerIdError.
    """
    fields: dict[str, Any] = {"name": name, "issuer": issuer, "faucet": faucet}
    if denominations is None:
        shipped = Network.shipped("main").denominations.values()
        table = [_row(each.prefix, each.mils, each.circulation) for each in shipped]
        return Network.from_fields(fields | {"denominations": table})
    where = shown(str(denominations), 200)
    try:
        given = tomllib.loads(denominations.read_text("utf-8"))
    except OSError as error:
        raise NetworkFileError(f"can't read {where}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise NetworkFileError(f"{where} is not TOML: {error}") from error
    if given.keys() != {"denominations"}:
        raise NetworkFileError(
            f"{where} must have [[denominations]] and nothing else",
            "each with a prefix, a value as text and a circulation",
        )
    return Network.from_fields(fields | given)


def write_network(network: Network, path: Path) -> None:
    """Write a network file, on disk on return; raises NetworkFileError if `path` is there."""
    write_new_file(path, network_text(network).encode(), NetworkFileError)


def network_text(network: Network) -> str:
    """The file of a network: what `Network.load` reads as the same one."""
    lines = [
        "# A currency. Its id is a hash of its name, issuer, denominations and allocations: change",
        "# one of them, and it is another currency. All its servers and wallets need this file.",
        f'name = "{network.name}"',
    ]
    if network.issuer is not None:
        lines += ["# Owner of all that never moved.", f'issuer = "{network.issuer}"']
    if network.faucet:
        lines += ["# Billots may be given to whoever asks: bmint faucet.", "faucet = true"]
    for each in network.denominations.values():
        row = _row(each.prefix, each.mils, each.circulation)
        lines += ["", "[[denominations]]", *(f"{key} = {_toml(row[key])}" for key in row)]
    if network.allocations:
        lines += ["", "[allocations]"]
        lines += [f'{billot} = "{owner}"' for billot, owner in network.allocations.items()]
    return "\n".join(lines) + "\n"


def _row(prefix: str, mils: int, circulation: int) -> Mapping[str, str | int]:
    return {"prefix": prefix, "value": format_mils(mils), "circulation": circulation}


def _toml(value: str | int) -> str:
    """A value of ours in TOML; the texts among them have nothing to escape."""
    return str(value) if isinstance(value, int) else f'"{value}"'
