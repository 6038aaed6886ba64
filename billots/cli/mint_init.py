"""``bmint init``: a network file and the issuer's key."""

from __future__ import annotations

import os
from pathlib import Path

import click

from billots.cli.printing import OK, document, line, name
from billots.cli.settings import new_passphrase
from billots.errors import NetworkFileError
from billots.network import SHIPPED, Network, format_mils


@click.command("init")
@click.argument("name_", metavar="NAME")
@click.option(
    "--denominations",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A TOML file with [[denominations]].  [default: those of the network main]",
)
@click.option(
    "--issuer",
    metavar="OWNER",
    help="Whose all billots are, if the key is kept elsewhere.  [default: a new key's]",
)
@click.option(
    "--keyfile",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The issuer's key, made unless it is there.  [default: NAME-issuer]",
)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The network file.  [default: NAME.toml]",
)
@click.option(
    "--faucet",
    is_flag=True,
    help="Play money: bmint faucet may give billots to whoever asks.",
)
@click.option(
    "--passphrase",
    is_flag=True,
    help="Ask for a passphrase, twice, and encrypt the issuer's key with it.",
    allow_from_autoenv=False,
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    *,
    name_: str,
    denominations: Path | None,
    issuer: str | None,
    keyfile: Path | None,
    output: Path | None,
    faucet: bool,
    passphrase: bool,
    as_json: bool,
) -> int:
    """Make a currency called NAME: its network file, and the key of its issuer.

    Nothing is overwritten. BWALLET_PASSPHRASE, or the first line of the file that
    BWALLET_PASSPHRASE_FILE names, encrypts the key.
    """
    from billots.founding import found, write_network
    from billots.owners import read_owner

    _check_company(issuer, keyfile, passphrase=passphrase)
    if name_ in SHIPPED:
        raise NetworkFileError(f"{name_} is a network that ships: it would only be mistaken for it")
    nobody = "0" * 128
    found(name_, nobody, denominations=denominations, faucet=faucet)  # says what is wrong, first
    path = output if output is not None else Path(f"{name_}.toml")
    if os.path.lexists(path):
        raise NetworkFileError(f"{name(path)} is already there and is never overwritten")
    key, made = None, False
    if issuer is not None:
        owner = read_owner(issuer)
    else:
        key = keyfile if keyfile is not None else Path(f"{name_}-issuer")
        owner, made = _owner_of(key, passphrase=passphrase)
    network = found(name_, owner, denominations=denominations, faucet=faucet)
    try:
        write_network(network, path)
    except NetworkFileError:
        for each in (key, Path(f"{key}.pub")) if made and key is not None else ():
            each.unlink(missing_ok=True)  # nobody was told of it
        raise
    assert Network.load(path).id == network.id, "what was written is what was meant"
    if as_json:
        document(_fields(network, path, key))
    else:
        _show(network, path, key)
    return OK


def _check_company(issuer: str | None, keyfile: Path | None, *, passphrase: bool) -> None:
    if issuer is not None and keyfile is not None:
        raise click.UsageError("either --issuer or --keyfile, not both")
    if issuer is not None and passphrase:
        raise click.UsageError("--passphrase is for a key that is made, and --issuer makes none")


def _owner_of(key: Path, *, passphrase: bool) -> tuple[str, bool]:
    """The owner id of a key file, which is made unless it is there; and whether it was made."""
    from billots.crypto import PrivateKey, load_public_key, owner_id

    missing = not os.path.lexists(key)
    if missing:
        PrivateKey.generate().save(key, new_passphrase(asked=passphrase))
    elif passphrase:
        raise click.UsageError(f"--passphrase is for a key that is made, and {name(key)} is there")
    return owner_id(load_public_key(key)), missing


def _fields(network: Network, path: Path, key: Path | None) -> dict[str, object]:
    return {
        "name": network.name,
        "id": network.id,
        "file": str(path),
        "keyfile": None if key is None else str(key),
        "issuer": network.issuer,
        "billots": sum(each.circulation for each in network.denominations.values()),
        "value": format_mils(_total(network)),
        "faucet": network.faucet,
    }


def _show(network: Network, path: Path, key: Path | None) -> None:
    count = sum(each.circulation for each in network.denominations.values())
    line(f"Network: {network.name} {network.id}")
    line(f"file: {name(path)}: {count:,} billots, worth {format_mils(_total(network))}")
    if key is not None:
        line(f"issuer's key: {name(key)} (who has it can hand out all of it: keep it safe)")
    line()
    line(f"Give {name(path)} to everybody; it holds no secret. Then")
    line("  operators run:")
    line(f"    bserver 7333 --network {name(path)} --trusted a.org:7333, b.org:7333, c.org:7333")
    line("  you hand out money:")
    hosts = "--trusted a.org:7333, b.org:7333, c.org:7333"
    hand = f"--keyfile {name(key)} " if key is not None else ""
    line(f"    bmint issue 1000 OWNER {hand}--network {name(path)} {hosts}")
    line("  users pay and are paid:")
    line(f"    bwallet --genkeys; bwallet --balance --network {name(path)} {hosts}")


def _total(network: Network) -> int:
    return sum(each.mils * each.circulation for each in network.denominations.values())
