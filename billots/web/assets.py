"""Stylesheet, script and icon: read once from the package, then served from memory.

A request's path is only looked up in a table: no name that a browser sends reaches the disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One file of ``static``."""

    body: bytes
    media_type: str
    etag: str


def load_assets() -> dict[str, Asset]:
    """The files of the package's folder ``static``, by name; of unknown kinds none."""
    found: dict[str, Asset] = {}
    for file in resources.files("billots.web").joinpath("static").iterdir():
        media_type = _TYPES.get(file.name.rpartition(".")[2])
        if media_type is not None:
            body = file.read_bytes()
            found[file.name] = Asset(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return found


def assets_route() -> Route:
    """``/static/<name>``: 304 for who has it already, 404 for anything else."""
    assets = load_assets()

    async def serve(request: Request) -> Response:
        asset = assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        # Looked at again each time, so that a page never meets the script of another version.
        headers = {"ETag": asset.etag, "Cache-Control": "no-cache"}
        known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
        if asset.etag in known:
            return Response(status_code=304, headers=headers)
        return Response(asset.body, media_type=asset.media_type, headers=headers)

    return Route("/static/{name}", serve)
