"""The frames of docs/protocol.rst, checked by nothing but what the document says of them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import exchange
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from billots.jsonrpc import decode_incoming, decode_params, decode_request

FRAMES = exchange.written(exchange.PROTOCOL.read_text("utf-8"))
SENT = [line[4:] for lines in FRAMES.values() for line in lines if line.startswith("--> ")]
HEARD = [line[4:] for lines in FRAMES.values() for line in lines if line.startswith("<-- ")]
NO_REQUESTS = {"batch", "parse", "params"}


def found(value: Any, *fields: str) -> list[dict[str, Any]]:
    """Every object in `value` that has all of these fields."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    here = [value] if isinstance(value, dict) and set(fields) <= value.keys() else []
    return here + [deeper for each in inside for deeper in found(each, *fields)]


EVERYTHING = [json.loads(line) for line in [*SENT, *HEARD] if line[-1] in "}]"]
TRANSFERS = found(EVERYTHING, "to", "public_key", "signature")
STATEMENTS = found(EVERYTHING, "nonce", "server", "signature")
BATCHES = found(EVERYTHING, "root", "rows", "signature")
FEED_VOTES = found(EVERYTHING, "root", "row", "signature")
RECEIPTS = found(EVERYTHING, "transfer", "votes")


def holds(key: str, message: str, signature: str) -> None:
    """Raise unless the signature is good."""
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
    public.verify(bytes.fromhex(signature), message.encode("ascii"))


def signing_text(transfer: dict[str, Any]) -> str:
    rows = "".join(f"{billot} {seq}\n" for billot, seq in transfer["billots"])
    return f"billots transfer 1\nnetwork {transfer['network']}\nto {transfer['to']}\n{rows}"


def transfer_id(transfer: dict[str, Any]) -> str:
    key = bytes.fromhex(transfer["public_key"])
    return hashlib.sha256(key + signing_text(transfer).encode()).hexdigest()


def root(texts: list[str]) -> str:
    """RFC 6962, section 2.1, as it is written there."""

    def tree(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return hashlib.sha256(b"\0" + leaves[0]).digest()
        half = 1 << (len(leaves) - 1).bit_length() - 1
        return hashlib.sha256(b"\1" + tree(leaves[:half]) + tree(leaves[half:])).digest()

    return tree([text.encode() for text in texts]).hex()


def root_of_path(text: str, index: int, count: int, path: list[str]) -> str:
    """RFC 9162, section 2.1.3.2, as it is written there."""
    fn, sn, r = index, count - 1, hashlib.sha256(b"\0" + text.encode()).digest()
    for p in map(bytes.fromhex, path):
        assert sn != 0
        if fn & 1 or fn == sn:
            r = hashlib.sha256(b"\1" + p + r).digest()
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = hashlib.sha256(b"\1" + r + p).digest()
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    return r.hex()


def test_the_frames_are_what_a_server_says():
    frames = {
        name: [str(frame) for frame in frames] for name, frames in exchange.exchanges().items()
    }
    assert frames == FRAMES


def test_every_request_decodes():
    for name, lines in FRAMES.items():
        for line in lines:
            if line.startswith("--> ") and name not in NO_REQUESTS:
                decode_params(decode_request(line[4:].encode()))


@pytest.mark.parametrize("line", HEARD, ids=lambda line: line[17:50])
def test_every_answer_decodes_and_fits_a_line(line):
    assert len(line.encode()) <= 131_072
    if line.startswith("{"):
        decode_incoming(line.encode())


def test_every_transfer_is_signed():
    assert len(TRANSFERS) > 8
    for transfer in TRANSFERS:
        holds(transfer["public_key"], signing_text(transfer), transfer["signature"])


def test_the_transfer_ids_are_those_of_the_transfers():
    accepted = json.loads(FRAMES["transfer"][1][4:])["result"]["transfer_id"]
    sent = json.loads(FRAMES["transfer"][0][4:])["params"]
    assert accepted == transfer_id(sent)


def test_every_statement_is_signed_for_its_nonce():
    assert len(STATEMENTS) == 5
    for statement in STATEMENTS:
        head = (
            f"billots statement 1\nnetwork {statement['network']}\n"
            f"server {statement['server']}\nnonce {statement['nonce']}\n"
        )
        rows = "".join(
            f"{row['id']} {row['seq']} {row['from'] or '-'} {row['owner'] or '-'} {row['status']}\n"
            for row in statement["billots"]
        )
        holds(statement["server"], head + rows, statement["signature"])


def test_every_vote_of_a_receipt_is_signed_and_for_its_transfer():
    network = TRANSFERS[0]["network"]
    votes = [(receipt["transfer"], vote) for receipt in RECEIPTS for vote in receipt["votes"]]
    assert {tuple(vote) for _, vote in votes} == {("statement",), ("feed",)}
    for transfer, vote in votes:
        if "statement" in vote:  # its signature is checked above
            owner = hashlib.sha512(bytes.fromhex(transfer["public_key"])).hexdigest()
            said = [(row["id"], row["seq"]) for row in vote["statement"]["billots"]]
            assert said == [tuple(row) for row in transfer["billots"]]
            for row in vote["statement"]["billots"]:
                assert (row["from"], row["owner"]) == (owner, transfer["to"])
        else:
            feed = vote["feed"]
            assert feed["row"].split()[1] == transfer_id(transfer)
            path = (feed["row"], feed["index"], feed["count"], feed["path"])
            assert root_of_path(*path) == feed["root"]
            message = (
                f"billots feed 1\nnetwork {network}\nserver {feed['server']}\n"
                f"rows {feed['count']} {feed['root']}\n"
            )
            holds(feed["server"], message, feed["signature"])
    assert len(FEED_VOTES) == 1


def test_every_feed_batch_is_signed():
    assert BATCHES
    network = TRANSFERS[0]["network"]
    for batch in BATCHES:
        assert batch["root"] == root(batch["rows"])
        message = (
            f"billots feed 1\nnetwork {network}\nserver {batch['server']}\n"
            f"rows {len(batch['rows'])} {batch['root']}\n"
        )
        holds(batch["server"], message, batch["signature"])
        ids = {transfer_id(transfer) for transfer in batch["transfers"]}
        assert ids <= {row.split()[1] for row in batch["rows"]}
