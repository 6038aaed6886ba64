"""The Merkle tree of RFC 6962, section 2.1."""

from hashlib import sha256

import pytest

from billots.merkle import audit_path, leaf_hash, root_from_path, root_hash

# The leaves and roots that Certificate Transparency's own implementations test with.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("count", range(9))
def test_roots_are_those_of_certificate_transparency(count):
    assert root_hash(LEAVES[:count]).hex() == ROOTS[count]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 255, 256])
def test_every_leaf_has_a_path_to_the_root(count):
    leaves = [str(number).encode() for number in range(count)]
    for index, leaf in enumerate(leaves):
        path = audit_path(leaves, index)
        assert root_from_path(leaf, index, count, path) == root_hash(leaves)


def test_a_lone_leaf_is_the_root():
    assert audit_path([b"x"], 0) == []
    assert root_hash([b"x"]) == leaf_hash(b"x") == sha256(b"\0x").digest()


@pytest.mark.parametrize(("index", "count"), [(0, 0), (1, 1), (-1, 3), (3, 3)])
def test_a_leaf_that_is_not_there_has_no_path(index, count):
    with pytest.raises(IndexError):
        audit_path(LEAVES[:count], index)
    assert root_from_path(b"", index, count, []) is None


def test_attack_a_path_of_another_length():
    path = audit_path(LEAVES[:5], 0)
    assert root_from_path(LEAVES[0], 0, 5, path[:-1]) is None
    assert root_from_path(LEAVES[0], 0, 5, [*path, path[0]]) is None
    assert root_from_path(LEAVES[0], 0, 5, []) is None
    assert root_from_path(LEAVES[4], 4, 5, path) is None


def test_attack_another_leaf_place_or_sibling_leads_elsewhere():
    root, path = root_hash(LEAVES), audit_path(LEAVES, 3)
    assert root_from_path(LEAVES[3], 3, 8, path) == root
    assert root_from_path(LEAVES[2], 3, 8, path) != root
    assert root_from_path(LEAVES[3], 2, 8, path) != root
    assert root_from_path(LEAVES[3], 3, 8, path[::-1]) != root


def test_attack_a_node_shown_as_a_leaf():
    """Without the prefixes the inner node would pass for a row."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    root = root_hash([b"a", b"b", b"c", b"d"])
    sibling = audit_path([b"a", b"b", b"c", b"d"], 0)[1:]
    assert root_from_path(left + right, 0, 2, sibling) != root


def test_order_and_count_have_a_part_in_the_root():
    assert root_hash([b"a", b"b"]) != root_hash([b"b", b"a"])
    assert root_hash([b"a", b"b", b"b"]) != root_hash([b"a", b"b", b"b", b"b"])  # CVE-2012-2459
