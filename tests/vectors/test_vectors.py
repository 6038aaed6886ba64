"""Golden vectors: that they are up to date, hold in Python, and hold in JavaScript."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from billots.crypto import PrivateKey, load_public_key, owner_id, verify
from billots.feed import FeedBatch, feed_bytes, root_of
from billots.merkle import root_from_path, root_hash
from billots.network import Network, format_mils
from billots.statement import Statement, statement_bytes
from billots.transfer import Transfer

HERE = Path(__file__).parent
SCRIPT = HERE.parent.parent / "scripts" / "vectors"
OURS = ["networks", "owners", "transfers", "statements", "feeds", "merkle"]
NODE = shutil.which("node")


def vectors(name):
    return json.loads((HERE / f"{name}.json").read_text("utf-8"))


def from_wire(fields, kind):
    return msgspec.json.decode(json.dumps(fields).encode(), type=kind)


def key(vector):
    return PrivateKey(bytes.fromhex(vector["seed"]))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder into which the script has just written all vectors."""
    folder = tmp_path_factory.mktemp("vectors")
    subprocess.run([sys.executable, SCRIPT, folder], check=True, capture_output=True)
    return folder


def test_the_script_writes_all_of_our_vectors(written):
    assert sorted(path.name for path in written.iterdir()) == sorted(f"{n}.json" for n in OURS)


@pytest.mark.parametrize("name", OURS)
def test_the_script_writes_the_committed_bytes(written, name):
    assert (written / f"{name}.json").read_bytes() == (HERE / f"{name}.json").read_bytes()


# In Python


@pytest.mark.parametrize("vector", vectors("networks"), ids=lambda v: v["name"])
def test_network_ids(vector):
    network = Network.from_fields(
        {
            "name": vector["name"],
            "issuer": vector["issuer"],
            "denominations": [
                {
                    "prefix": row["prefix"],
                    "value": format_mils(row["mils"]),
                    "circulation": row["circulation"],
                }
                for row in vector["denominations"]
            ],
            "allocations": vector["allocations"],
        }
    )
    assert network.canonical == vector["canonical"]
    assert network.id == vector["id"]


@pytest.mark.parametrize("name", ["main", "test"])
def test_the_shipped_networks_keep_their_ids(name):
    """A changed id is a changed currency: every key, server and wallet would be on another."""
    (pinned,) = [v["id"] for v in vectors("networks") if v["name"] == name]
    assert Network.shipped(name).id == pinned


@pytest.mark.parametrize("vector", vectors("owners"), ids=lambda v: v["name"])
def test_owner_ids(vector, tmp_path):
    raw = bytes.fromhex(vector["public_key"])
    assert key(vector).public_key == raw
    assert owner_id(raw) == key(vector).owner == vector["owner"]
    (tmp_path / "key.pub").write_text(vector["pem"])
    assert load_public_key(tmp_path / "key") == raw


@pytest.mark.parametrize("vector", vectors("transfers"), ids=lambda v: v["comment"])
def test_transfers(vector):
    transfer = from_wire(vector["transfer"], Transfer)
    assert transfer.signing_bytes.decode() == vector["signing_bytes"]
    assert transfer.id == vector["transfer_id"]
    assert transfer.sender == vector["sender"]
    assert transfer.verify()
    assert key(vector).sign(transfer.signing_bytes).hex() == transfer.signature
    assert json.loads(msgspec.json.encode(transfer)) == vector["transfer"]


@pytest.mark.parametrize("vector", vectors("statements"), ids=lambda v: v["comment"])
def test_statements(vector):
    statement = from_wire(vector["statement"], Statement)
    signed = statement_bytes(
        statement.network, statement.server, statement.nonce, statement.billots
    )
    assert signed.decode() == vector["signing_bytes"]
    asked = [row.id for row in statement.billots]
    assert statement.answers(statement.network, statement.nonce, asked)
    assert key(vector).sign(signed).hex() == statement.signature
    assert json.loads(msgspec.json.encode(statement)) == vector["statement"]


@pytest.mark.parametrize("vector", vectors("feeds"), ids=lambda v: v["comment"])
def test_feeds(vector):
    fields = {name: vector[name] for name in ("server", "rows", "root", "signature")}
    batch = from_wire(fields, FeedBatch)
    assert batch.is_signed(vector["network"])
    assert [row.text for row in batch.parsed()] == vector["rows"]
    assert root_of(vector["rows"]) == vector["root"]
    signed = feed_bytes(vector["network"], batch.server, len(batch.rows), batch.root)
    assert signed.decode() == vector["signing_bytes"]
    assert key(vector).sign(signed).hex() == batch.signature
    paths_hold([row.encode() for row in batch.rows], vector)


@pytest.mark.parametrize("vector", vectors("merkle"), ids=lambda v: len(v["leaves"]))
def test_merkle_roots_and_paths(vector):
    leaves = [bytes.fromhex(leaf) for leaf in vector["leaves"]]
    assert root_hash(leaves).hex() == vector["root"]
    paths_hold(leaves, vector)


def paths_hold(leaves, vector):
    for index, (leaf, path) in enumerate(zip(leaves, vector["paths"], strict=True)):
        nodes = [bytes.fromhex(node) for node in path]
        assert root_from_path(leaf, index, len(leaves), nodes).hex() == vector["root"]


# Ed25519 by others: which signatures are good, in the corners where libraries disagree


def openssl_takes(public_key, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("vector", vectors("speccheck"), ids=lambda v: v["case"])
def test_attack_key_and_signature_malleability_speccheck(vector):
    arguments = [bytes.fromhex(vector[name]) for name in ("public_key", "message", "signature")]
    assert verify(*arguments) is vector["accepted"]


def test_the_speccheck_cases_are_those_of_the_paper():
    """Written as the paper's program writes them, they are the bytes of its cases.json."""
    cases = [
        {"message": v["message"], "pub_key": v["public_key"], "signature": v["signature"]}
        for v in vectors("speccheck")
    ]
    text = json.dumps(cases, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "08e47a36d9aead288664930505584f353fff113ab854f2800db1e4f5b3540450"
    assert digest in (HERE / "README.rst").read_text("utf-8")


def test_of_the_first_eleven_speccheck_cases_one_is_taken_where_openssl_takes_four():
    cases = [
        [bytes.fromhex(vector[name]) for name in ("public_key", "message", "signature")]
        for vector in vectors("speccheck")
    ]
    assert len(cases) == 12
    assert [number for number, case in enumerate(cases) if verify(*case)] == [3]
    assert [n for n, case in enumerate(cases[:11]) if openssl_takes(*case)] == [0, 1, 2, 3]


WYCHEPROOF = [
    (group["publicKey"]["pk"], test)
    for group in vectors("wycheproof_ed25519")["testGroups"]
    for test in group["tests"]
]


def test_the_wycheproof_file_is_an_unmodified_copy():
    digest = hashlib.sha256((HERE / "wycheproof_ed25519.json").read_bytes()).hexdigest()
    assert digest == "ea80ffebac085e21cb9d3e903e7fa2b448d96702da5b31f061d0b83b430b74b3"
    assert digest in (HERE / "README.rst").read_text("utf-8")
    assert len(WYCHEPROOF) == vectors("wycheproof_ed25519")["numberOfTests"] == 210


@pytest.mark.parametrize(("public_key", "case"), WYCHEPROOF, ids=[c["tcId"] for _, c in WYCHEPROOF])
def test_attack_key_and_signature_malleability_wycheproof(public_key, case):
    """What RFC 8032 leaves open: keys of small order are refused, those of mixed order taken."""
    arguments = [bytes.fromhex(text) for text in (public_key, case["msg"], case["sig"])]
    expected = {
        "valid": True,
        "invalid": False,
        "acceptable": case["flags"] == ["MixedOrderPublicKey"],
    }
    assert verify(*arguments) is expected[case["result"]]


# In JavaScript


def run_node(folder):
    return subprocess.run(
        [NODE, HERE / "verify.mjs", folder], capture_output=True, text=True, check=False
    )


needs_node = pytest.mark.skipif(
    NODE is None, reason="NOT CHECKED: the vectors in JavaScript, because there is no node here"
)


@needs_node
def test_every_vector_holds_in_javascript():
    result = run_node(HERE)
    assert result.returncode == 0, result.stdout + result.stderr
    told = {line.split(":")[0]: line.split(": ")[1] for line in result.stdout.splitlines()}
    assert told == {name: f"{len(vectors(name))} of {len(vectors(name))} hold" for name in OURS}


def tampered(value):
    """The same kind of value, but another."""
    if isinstance(value, int):
        return value + 1
    if not value:
        return "00"
    at = len(value) // 2
    return value[:at] + ("1" if value[at] != "1" else "2") + value[at + 1 :]


def places_in(value, path=()):
    """The path of every plain value in a vector."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [place for step, inner in items for place in places_in(inner, (*path, step))]
    return [path]


def one_place_of_each_field(name):
    """Where to change the second vector of a file; what nothing depends on is left out."""
    unsigned = {("comment",), ("statement", "billots", "value")}
    if name == "owners":
        unsigned.add(("name",))
    fields = {}
    for path in places_in(vectors(name)[1]):
        # Places in a list and billots in a table are of one field.
        fields[tuple(step for step in path if isinstance(step, str) and "-" not in step)] = path
    return [path for field, path in fields.items() if field not in unsigned]


@pytest.mark.slow
@needs_node
@pytest.mark.parametrize("name", OURS)
def test_a_tampered_vector_fails_in_javascript(name, tmp_path):
    """One value of one vector is changed at a time, one of every field."""
    for copied in OURS:
        shutil.copy(HERE / f"{copied}.json", tmp_path)
    for path in one_place_of_each_field(name):
        changed = vectors(name)
        inner = changed[1]
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = tampered(inner[path[-1]])
        (tmp_path / f"{name}.json").write_text(json.dumps(changed))
        result = run_node(tmp_path)
        assert result.returncode == 1, f"{path} was changed, and all held"
        assert f"{name}: {len(changed) - 1} of {len(changed)} hold, not 1\n" in result.stdout
        assert result.stdout.count("not") == 1


@needs_node
@pytest.mark.parametrize("content", ["[]", "{}", "", None])
def test_a_file_that_is_empty_or_missing_fails_in_javascript(tmp_path, content):
    for name in OURS:
        shutil.copy(HERE / f"{name}.json", tmp_path)
    if content is None:
        (tmp_path / "feeds.json").unlink()
    else:
        (tmp_path / "feeds.json").write_text(content)
    assert run_node(tmp_path).returncode != 0
