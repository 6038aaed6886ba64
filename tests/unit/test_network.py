"""Billot ids, money, owner ids and network files (DESIGN, section 2)."""

import hashlib
import re
from fractions import Fraction

import pytest

from billots.errors import BillotIdError, NetworkFileError, OwnerIdError
from billots.network import (
    Network,
    check_owner_id,
    format_mils,
    parse_mils,
    shown,
    split_billot_id,
)

OWNER = "0123456789abcdef" * 8
OTHER = "f" * 128
TEST = Network.shipped("test")
MAIN = Network.shipped("main")

FIELDS = {
    "name": "tiny",
    "issuer": OWNER,
    "denominations": [
        {"prefix": "b-", "value": "0.005", "circulation": 20},
        {"prefix": "a-", "value": "100", "circulation": 10},
    ],
    "allocations": {"b-10": OTHER, "b-9": OTHER, "a-1": OTHER},
}


def fields(**changes):
    return {**FIELDS, **changes}


def denomination(**changes):
    return [{"prefix": "a-", "value": "100", "circulation": 10, **changes}]


# Billot ids


@pytest.mark.parametrize(
    ("billot", "place"),
    [
        ("a-1", ("a-", 1)),
        ("a-10000", ("a-", 10000)),
        ("k-50000000", ("k-", 50000000)),
    ],
)
def test_a_billot_id_has_a_prefix_and_a_number(billot, place):
    assert split_billot_id(billot) == place
    assert TEST.check(billot) == place


def test_billots_sort_by_prefix_then_number():
    assert sorted(["b-1", "a-10", "a-9"], key=split_billot_id) == ["a-9", "a-10", "b-1"]


@pytest.mark.parametrize(
    "billot",
    [
        "", "a", "a-", "-1", "1-a", "a1", "a--1", "a-0", "a-00", "a-01", "a-+1",
        "a-1.0", "a-1e3", "a-1_0", "a-0x1", "a-1 ", " a-1", "a-1\n", "a-1\r", "\na-1", "a-1\0",
        "A-1", "aaaa-1", "é-1", "a-1a", "a-" + "9" * 19, "a-" + "9" * 5000,
    ],
)  # fmt: skip
def test_other_spellings_are_no_billot_ids(billot):
    with pytest.raises(BillotIdError):
        split_billot_id(billot)


# Fullwidth, Arabic-Indic, Devanagari and mathematical digits; superscript one; a Cyrillic a;
# a fullwidth a; an Armenian hyphen and a minus sign; a zero-width space.
@pytest.mark.parametrize(
    "billot",
    ["a-１", "a-١", "a-१", "a-𝟏", "a-¹", "а-1", "ａ-1", "a֊1", "a−1", "a-1\u200b", "a-1１"],
)
def test_attack_unicode_digits_in_a_billot_id(billot):
    with pytest.raises(BillotIdError):
        split_billot_id(billot)


@pytest.mark.parametrize("billot", ["a-1\n", "a-1\n\n"])
def test_attack_newline_after_a_billot_id_that_a_dollar_would_match(billot):
    assert re.match(r"^[a-z]-[0-9]+$", "a-1\n")  # the trap: 2017 walked into it
    with pytest.raises(BillotIdError):
        split_billot_id(billot)


@pytest.mark.parametrize("billot", ["a-0", "a-01", "A-1", "a-１", "a-1\n", "a-10001"])
def test_attack_of_2017_more_billots_than_circulate(billot):
    """Each was worth 100."""
    for question in (TEST.check, TEST.mils, lambda b: TEST.total_mils(["a-1", b])):
        with pytest.raises(BillotIdError):
            question(billot)


@pytest.mark.parametrize("billot", ["l-1", "aa-1", "zzz-1", "k-50000001", "a-" + "9" * 18])
def test_attack_growth_by_unknown_ids_of_good_form(billot):
    split_billot_id(billot)
    with pytest.raises(BillotIdError, match="no such billot in network test"):
        TEST.check(billot)


def test_an_error_shows_a_hostile_id_escaped_and_cut():
    with pytest.raises(BillotIdError) as caught:
        split_billot_id("\x1b[2J" + "x" * 1000)
    assert str(caught.value).startswith("not a billot id: \\x1b[2Jxxx")
    assert len(str(caught.value)) < 60
    assert caught.value.hint.endswith("a number from 1 on: a-1")


# Owner ids


def test_an_owner_id_is_returned_as_it_is():
    assert check_owner_id(OWNER) is OWNER


@pytest.mark.parametrize(
    "owner",
    ["", "5", OWNER[:-1], OWNER + "0", OWNER.upper(), OWNER[:-1] + "g", OWNER + "\n",
     " " + OWNER[1:], OWNER[:-1] + "１", "0x" + OWNER[2:], "-"],
)  # fmt: skip
def test_attack_an_owner_id_that_nobody_can_have(owner):
    with pytest.raises(OwnerIdError) as caught:
        check_owner_id(owner)
    assert "--hash" in caught.value.hint or "lower case" in caught.value.hint


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"isuer": OWNER}, "unknown key isuer"),
        ({"denominations": [{"prefix": "a-", "value": "1", "circulation": 1, "size": 2}]},
         "unknown key size"),
    ],
)  # fmt: skip
def test_a_misspelt_key_makes_no_other_network(more, message):
    fields = {"name": "n", "denominations": [{"prefix": "a-", "value": "1", "circulation": 1}]}
    with pytest.raises(NetworkFileError, match=message) as caught:
        Network.from_fields(fields | more)
    assert caught.value.hint.startswith("known are: ")


@pytest.mark.parametrize("owner", [5, None, b"0" * 128, True])
def test_an_owner_id_that_is_no_text_is_never_taken(owner):
    with pytest.raises(TypeError):
        check_owner_id(owner)


# Text of others


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain", "plain"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\u202egnp", "\\u202egnp"),
        ("\ud800", "\\ud800"),
        ("back\\slash", "back\\\\slash"),
        ("é𝟏", "\\xe9\\U0001d7cf"),
    ],
)
def test_attack_control_characters_in_somebody_elses_text(text, safe):
    assert shown(text) == safe
    assert shown(text).isascii()
    assert shown(text).isprintable()


def test_shown_text_is_cut():
    assert shown("x" * 40) == "x" * 40
    assert shown("x" * 41) == "x" * 39 + "…"
    assert shown("abcdef", 4) == "abc…"


# Money


@pytest.mark.parametrize(
    ("mils", "value"),
    [
        (0, "0"), (1, "0.001"), (5, "0.005"), (10, "0.01"), (50, "0.05"), (100, "0.1"),
        (250, "0.25"), (1000, "1"), (100_000, "100"), (100_005, "100.005"), (1500, "1.5"),
        (10_150_000_000, "10150000"), (-5, "-0.005"), (-1000, "-1"),
    ],
)  # fmt: skip
def test_values_print_without_noise(mils, value):
    assert format_mils(mils) == value
    if mils >= 0:
        assert parse_mils(value) == mils


@pytest.mark.parametrize(
    ("value", "mils"), [("1.", None), ("1.5", 1500), ("1.50", 1500), ("1.500", 1500), ("01", 1000)]
)
def test_values_are_read_exactly(value, mils):
    if mils is None:
        with pytest.raises(ValueError, match="at most three decimals"):
            parse_mils(value)
    else:
        assert parse_mils(value) == mils


@pytest.mark.parametrize(
    "value",
    ["", ".5", "1.0005", "-1", "+1", "1e3", "NaN", "inf", "1,5", "１", "1\n", " 1", "0x1", "1_0",
     "9" * 13],
)  # fmt: skip
def test_attack_values_that_floats_would_take(value):
    with pytest.raises(ValueError, match="not a value"):
        parse_mils(value)


def test_attack_money_as_float():
    """A total of 2017 was 0.049999999999999996."""
    tens = [f"k-{number}" for number in range(1, 11)]
    assert format_mils(TEST.total_mils(tens)) == "0.05"
    assert sum([0.1] * 3) != 0.3  # what floats do to i- and h-
    assert format_mils(TEST.total_mils(["h-1", "h-2", "h-3"])) == "0.3"


README = {
    "a-": ("100", 10_000), "b-": ("50", 20_000), "c-": ("20", 50_000), "d-": ("10", 100_000),
    "e-": ("5", 200_000), "f-": ("1", 1_000_000), "g-": ("0.25", 4_000_000),
    "h-": ("0.1", 10_000_000), "i-": ("0.05", 30_000_000), "j-": ("0.01", 40_000_000),
    "k-": ("0.005", 50_000_000),
}  # fmt: skip


@pytest.mark.parametrize("network", [MAIN, TEST], ids=["main", "test"])
def test_attack_money_as_float_totals_over_all_billots_are_exact(network):
    of_all = network.denominations.values()
    assert {d.prefix: (format_mils(d.mils), d.circulation) for d in of_all} == README
    assert sum(d.circulation for d in of_all) == 135_380_000
    assert sum(d.mils * d.circulation for d in of_all) == 10_150_000 * 1000
    exact = sum(Fraction(value) * circulation for value, circulation in README.values())
    assert sum(d.mils * d.circulation for d in of_all) == exact * 1000


def test_a_total_counts_each_billot_exactly():
    some = [f"{prefix}{number}" for prefix in README for number in (1, 2, 3)]
    assert TEST.total_mils(some) == 3 * sum(parse_mils(value) for value, _ in README.values())
    assert TEST.total_mils([]) == 0


# The shipped networks


def test_the_test_network_belongs_to_its_mint_but_for_nine_billots():
    user1, user2, user3 = (TEST.first_owner(b) for b in ("a-1", "d-1", "g-1"))
    assert list(TEST.allocated_to(user1)) == ["a-1", "b-1", "c-1"]
    assert list(TEST.allocated_to(user2)) == ["d-1", "e-1", "f-1"]
    assert list(TEST.allocated_to(user3)) == ["g-1", "h-1", "i-1"]
    assert len({user1, user2, user3, TEST.issuer}) == 4
    assert TEST.first_owner("a-2") == TEST.first_owner("j-1") == TEST.issuer
    assert list(TEST.allocated_to(TEST.issuer)) == []


def test_the_main_network_has_no_issuer_yet():
    assert MAIN.issuer is None
    assert MAIN.first_owner("a-1") is None
    assert "\nissuer -\n" in MAIN.canonical


def test_there_is_no_third_network():
    with pytest.raises(NetworkFileError) as caught:
        Network.shipped("../test")
    assert caught.value.hint == "shipped are: main, test"


# Network ids


def test_a_network_id_is_the_hash_of_its_canonical_text():
    network = Network.from_fields(FIELDS)
    assert network.canonical == (
        "billots network 1\n"
        "name tiny\n"
        f"issuer {OWNER}\n"
        "a- 100000 10\n"
        "b- 5 20\n"
        f"allocate a-1 {OTHER}\n"
        f"allocate b-9 {OTHER}\n"
        f"allocate b-10 {OTHER}\n"
    )
    assert network.id == hashlib.sha256(network.canonical.encode()).hexdigest()[:32]


def test_the_order_of_the_file_has_no_part_in_the_id():
    turned = fields(
        denominations=FIELDS["denominations"][::-1],
        allocations=dict(reversed(FIELDS["allocations"].items())),
    )
    assert Network.from_fields(turned).id == Network.from_fields(FIELDS).id
    assert Network.from_fields(turned) == Network.from_fields(FIELDS)


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "tinny"},
        {"issuer": None},
        {"issuer": OTHER},
        {"allocations": {}},
        {"denominations": denomination() + FIELDS["denominations"][:1], "allocations": {}},
    ],
)
def test_every_rule_has_a_part_in_the_id(changed):
    assert Network.from_fields(fields(**changed)).id != Network.from_fields(FIELDS).id


@pytest.mark.parametrize("word", ["yes", 1, None])
def test_a_faucet_is_there_or_not(word):
    with pytest.raises(NetworkFileError, match="faucet must be true or false"):
        Network.from_fields(fields(faucet=word))


def test_only_the_test_network_that_ships_has_a_faucet():
    assert Network.shipped("test").faucet
    assert not Network.shipped("main").faucet
    assert not Network.from_fields(FIELDS).faucet


# Network files


def test_a_network_is_read_from_a_file(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(
        f'name = "tiny"\nissuer = "{OWNER}"\n'
        '[[denominations]]\nprefix = "a-"\nvalue = "0.5"\ncirculation = 3\n'
        f'[allocations]\na-3 = "{OTHER}"\n'
    )
    network = Network.load(path)
    assert (network.name, network.mils("a-3")) == ("tiny", 500)
    assert network.first_owner("a-3") == OTHER
    assert network.first_owner("a-2") == OWNER
    assert Network.load(str(path)) == network


def test_a_missing_file_is_told_with_its_name(tmp_path):
    with pytest.raises(NetworkFileError, match=r"can't read network file .*no\\x1b: No such file"):
        Network.load(tmp_path / "no\x1b")


def test_a_binary_file_is_no_network(tmp_path):
    (tmp_path / "file").write_bytes(b"\xff\xfe")
    with pytest.raises(NetworkFileError, match="not UTF-8 text"):
        Network.load(tmp_path / "file")


@pytest.mark.parametrize(
    "text", ["name", "= 1", "x = " + "[" * 5000, "x = " + "9" * 5000], ids=lambda t: t[:8]
)
def test_attack_a_network_file_that_is_no_toml(text):
    with pytest.raises(NetworkFileError, match="not TOML"):
        Network.parse(text)


@pytest.mark.parametrize("name", [None, "", 5, "a b", "a\n", "-a", "x" * 33, "té"])
def test_a_network_has_a_plain_name(name):
    with pytest.raises(NetworkFileError, match="name must be"):
        Network.from_fields(fields(name=name))


@pytest.mark.parametrize(
    "changed",
    [{"denominations": None}, {"denominations": []}, {"denominations": {}}, {"allocations": []}],
)
def test_a_network_has_denominations_and_a_table_of_allocations(changed):
    with pytest.raises(NetworkFileError, match=r"needs \[\[denominations\]\]"):
        Network.from_fields(fields(**changed))


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["a-"], "a denomination is a table"),
        (denomination(prefix="a"), "a prefix is one to three letters"),
        (denomination(prefix="A-"), "a prefix is one to three letters"),
        (denomination(prefix="a-\n"), "a prefix is one to three letters"),
        (denomination(prefix="abcd-"), "a prefix is one to three letters"),
        (denomination(prefix=5), "a prefix is one to three letters"),
        (denomination(value=0.005), "value must be text"),
        (denomination(value=100), "value must be text"),
        (denomination(value="0.0005"), "value must be text"),
        (denomination(value=None), "value must be text"),
        (denomination(value="0"), "value is out of range"),
        (denomination(value="999999999999"), "value is out of range"),
        (denomination(circulation=0), "circulation must be"),
        (denomination(circulation=-1), "circulation must be"),
        (denomination(circulation=10**12 + 1), "circulation must be"),
        (denomination(circulation=10.0), "circulation must be"),
        (denomination(circulation="10"), "circulation must be"),
        (denomination(circulation=True), "circulation must be"),
        (denomination() * 2, "a- is there twice"),
    ],
)
def test_a_denomination_that_breaks_a_rule(rows, reason):
    with pytest.raises(NetworkFileError, match=reason):
        Network.from_fields(fields(denominations=rows, allocations={}))


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": ""},
        {"issuer": "5"},
        {"issuer": 5},
        {"issuer": OWNER + "\n"},
        {"allocations": {"a-1": "5"}},
        {"allocations": {"a-1": 5}},
        {"allocations": {"a-11": OWNER}},
        {"allocations": {"a-01": OWNER}},
        {"allocations": {"c-1": OWNER}},
    ],
)
def test_issuer_and_allocations_name_owners_and_billots(changed):
    with pytest.raises(NetworkFileError):
        Network.from_fields(fields(**changed))
