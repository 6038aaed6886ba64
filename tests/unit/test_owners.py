"""Owner ids with a checksum."""

import pytest

from billots.crypto import PrivateKey
from billots.errors import OwnerIdError
from billots.owners import checksum, read_owner, with_checksum

OWNER = PrivateKey(bytes(32)).owner


def test_with_and_without_it_is_the_same_owner():
    assert with_checksum(OWNER) == f"{OWNER}-{checksum(OWNER)}"
    assert read_owner(with_checksum(OWNER)) == read_owner(OWNER) == OWNER
    assert read_owner(with_checksum(OWNER).upper()) == OWNER


def test_the_checksum_stays_what_it_is():
    assert checksum("0" * 128) == "nvzrmc"


def test_attack_every_wrong_digit_and_every_two_swapped_are_caught():
    letters = checksum(OWNER)
    for at in range(128):
        for digit in "0123456789abcdef":
            if digit != OWNER[at]:
                with pytest.raises(OwnerIdError, match="wrong checksum"):
                    read_owner(f"{OWNER[:at]}{digit}{OWNER[at + 1 :]}-{letters}")
    for at in range(127):
        swapped = OWNER[:at] + OWNER[at + 1] + OWNER[at] + OWNER[at + 2 :]
        if swapped != OWNER:
            with pytest.raises(OwnerIdError, match="wrong checksum"):
                read_owner(f"{swapped}-{letters}")


@pytest.mark.parametrize(
    "text",
    [
        f"{OWNER}-",
        f"{OWNER}-{checksum(OWNER)[:5]}",
        f"{OWNER}-{checksum(OWNER)}a",
        f"{OWNER[1:]}-{checksum(OWNER)}",
        f"{OWNER} -{checksum(OWNER)}",
        f"{OWNER}-{checksum(OWNER)}\n",
        OWNER.upper(),
        OWNER[:-1],
        "",
        "-",
        "\x1b[2J",
    ],
)
def test_what_is_no_owner_id(text):
    with pytest.raises(OwnerIdError) as caught:
        read_owner(text)
    assert "\x1b" not in str(caught.value)
    assert caught.value.hint
