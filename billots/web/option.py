"""What ``--web`` takes, and whether it can be had; loads nothing of the extra ``billots[web]``."""

from __future__ import annotations

from importlib.util import find_spec

from billots.errors import HostError, InputError
from billots.host import Host
from billots.network import shown

LIBRARIES = ("jinja2", "prometheus_client", "starlette", "uvicorn")


def require_extra(option: str = "--web") -> None:
    """Raise InputError, which names `option`, unless all that pages need can be imported."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{option} needs the extra: {', '.join(missing)} not installed",
            "pip install 'billots[web]', or '.[web]' in a clone",
        )


def parse_place(text: str, option: str = "--web") -> Host:
    """``[HOST:]PORT``, on this machine unless it says where; raises HostError.

    Port 0 takes a free one.
    """
    host, _, port = text.rpartition(":")
    host = host or "127.0.0.1"
    if not (port.isdecimal() and port.isascii() and int(port[:6]) <= 65535):
        raise HostError(f"not a port for {option}: {shown(text)}", f"{option} [HOST:]PORT")
    if ":" in host and not host.startswith("["):
        raise HostError(f"not a host for {option}: {shown(text)}", f"{option} [::1]:PORT")
    place = Host.parse(f"{host}:{port if int(port) else 1}")
    return Host(place.address, int(port))
