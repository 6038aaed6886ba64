"""A new currency's network file."""

import pytest

from billots.errors import NetworkFileError
from billots.founding import found, network_text, write_network
from billots.network import Network

ISSUER, OTHER = "0" * 128, "1" * 128


@pytest.mark.parametrize("faucet", [False, True])
def test_what_is_written_is_read_as_the_same(tmp_path, faucet):
    network = found("club", ISSUER, faucet=faucet)
    write_network(network, tmp_path / "club.toml")
    read = Network.load(tmp_path / "club.toml")
    assert read == network
    assert read.id == network.id


def test_allocations_are_written_as_well():
    fields = {
        "name": "tiny",
        "denominations": [{"prefix": "x-", "value": "0.005", "circulation": 3}],
        "allocations": {"x-3": OTHER},
    }
    network = Network.from_fields(fields)
    assert Network.parse(network_text(network)) == network


def test_a_faucet_is_no_rule_of_the_ledger():
    assert found("club", ISSUER).id == found("club", ISSUER, faucet=True).id


def test_only_denominations_are_taken_from_a_file(tmp_path):
    given = tmp_path / "notes.toml"
    given.write_text(f'issuer = "{OTHER}"\n[[denominations]]\n')
    with pytest.raises(NetworkFileError, match="and nothing else"):
        found("club", ISSUER, denominations=given)


def test_a_file_is_never_overwritten_and_no_link_is_followed(tmp_path):
    (tmp_path / "club.toml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NetworkFileError, match="already there"):
        write_network(found("club", ISSUER), tmp_path / "club.toml")
    assert not (tmp_path / "elsewhere").exists()
