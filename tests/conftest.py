"""What holds for every test: skips must be accounted for, and examples print how to repeat them.

``--rewrite-transcripts`` writes the golden transcripts of ``tests/protocol/transcripts`` anew.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-transcripts",
        action="store_true",
        help="write the protocol's golden transcripts anew, from their commands",
    )


# No deadline: how long an example takes says more about the machine than about the code.
settings.register_profile("turnout", deadline=None, print_blob=True)
settings.load_profile("turnout")

if os.environ.get("CI") == "true":
    pytest_plugins = ["tests.skip_policy"]
