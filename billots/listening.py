"""Listening: sockets bound before the store is opened, and what may go wrong, in words."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable

from billots.errors import ServerError
from billots.host import Host
from billots.network import shown

_BACKLOG = 1024
_TRIES_MAX = 8


async def listen(
    protocol: Callable[[], asyncio.BaseProtocol], host: str, port: int
) -> asyncio.Server:
    """Bind `host`:`port`, serving nobody yet; raises ServerError.

    Port 0 takes a free one: the same for all addresses that `host` stands for, while the
    kernel would give each its own.
    """
    loop = asyncio.get_running_loop()
    wanted = port
    for tries_left in reversed(range(_TRIES_MAX)):
        try:
            server = await loop.create_server(
                protocol, host, wanted, backlog=_BACKLOG, start_serving=False
            )
        except (OSError, UnicodeError) as error:
            if wanted != port and tries_left:
                wanted = port  # free for one address and taken for another
                continue
            raise cannot_listen(host, port, error) from error
        found = {sock.getsockname()[1] for sock in server.sockets}
        if len(found) == 1 or not tries_left:
            return server
        server.close()
        wanted = min(found)
    raise AssertionError("the last try returns or raises")


async def serve(server: asyncio.Server, host: str, port: int) -> None:
    """Begin to take connections; raises ServerError."""
    try:
        await server.start_serving()
    except OSError as error:  # another process bound it as well, and was quicker
        raise cannot_listen(host, port, error) from error


def cannot_listen(host: str, port: int, error: Exception, option: str = "--host") -> ServerError:
    """Why the port can't be had, and what to try; `option` is where the host came from."""
    place = f"port {port}" if not host else shown(_place(host, port), 100)
    number = error.errno if isinstance(error, OSError) else None
    hint = None
    if number == errno.EADDRINUSE:
        hint = f"try another port, such as {port + 1 if port < 65535 else port - 1}"
    elif number in (errno.EACCES, errno.EPERM):
        hint = "try a port above 1023, such as 7333"
    elif isinstance(error, UnicodeError | socket.gaierror) or number == errno.EADDRNOTAVAIL:
        hint = f"{option} takes an address of this machine, such as 127.0.0.1"
    return ServerError(f"can't listen on {place}: {_reason(error)}", hint)


def _place(host: str, port: int) -> str:
    return Host(host, port).place


def _reason(error: Exception) -> str:
    """Why, in words; asyncio's own text repeats the address."""
    if isinstance(error, UnicodeError):
        return "no such address"
    assert isinstance(error, OSError)
    if isinstance(error, socket.gaierror):
        return (error.strerror or "no such address").lower()
    if error.errno is None:
        return shown(str(error), 100)
    return os.strerror(error.errno).lower()
