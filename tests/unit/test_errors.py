"""The tree of errors, and what its members carry."""

import re

import pytest

from billots import errors

EVERY = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.BillotsError)
]


def test_the_docstring_draws_the_whole_tree():
    drawn = re.findall(r"(?:├──|└──|^ {4})\s?(\w+)", errors.__doc__, re.MULTILINE)
    assert sorted(drawn) == sorted(error.__name__ for error in EVERY)


@pytest.mark.parametrize("error", EVERY)
def test_each_error_says_what_it_is_for(error):
    assert error.__doc__


@pytest.mark.parametrize("error", [e for e in EVERY if e is not errors.Refused])
def test_each_error_carries_a_message_and_a_hint(error):
    assert str(error("what happened")) == "what happened"
    assert error("what happened").hint is None
    assert error("what happened", "type this").hint == "type this"


@pytest.mark.parametrize(
    "error",
    [errors.BillotIdError, errors.OwnerIdError, errors.HostError, errors.NetworkFileError],
)
def test_bad_input_is_also_a_value_error(error):
    assert issubclass(error, errors.InputError)
    assert issubclass(error, ValueError)


def test_a_refusal_carries_code_name_and_a_copy_of_its_data():
    data = {"error": "stale_seq", "billot": "a-1"}
    refused = errors.Refused(-32005, "stale seq", "stale_seq", data, "look again")
    data.clear()
    assert (refused.code, refused.name, refused.hint) == (-32005, "stale_seq", "look again")
    assert refused.data == {"error": "stale_seq", "billot": "a-1"}
    assert str(refused) == "stale seq"


def test_a_refusal_needs_no_name_and_no_data():
    refused = errors.Refused(-32601, "no such method")
    assert (refused.name, refused.data, refused.hint) == (None, {}, None)
