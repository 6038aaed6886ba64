"""One set of servers with something to see for all tests that only look."""

import asyncio

import pytest
from explored import Explored, history


@pytest.fixture(scope="session")
def seen(tmp_path_factory):
    """Four servers, the pages of the first, and what has happened there."""
    with Explored(tmp_path_factory.mktemp("explored"), 4) as explored:
        explored.history = asyncio.run(history(explored.hosts))
        explored.until("/disputes", lambda text: "a-1" in text and ">disputed<" in text)
        explored.until("/", lambda text: "117 more" in text and text.count(">agrees<") == 4)
        yield explored
