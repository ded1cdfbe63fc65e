"""What holds for every test: skips must be accounted for, and examples print how to repeat them.

``--rewrite-transcripts`` writes the golden transcripts of ``tests/protocol/transcripts`` anew.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import Phase, settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-transcripts",
        action="store_true",
        help="write the protocol's golden transcripts anew, from their commands",
    )


IN_CI = os.environ.get("CI") == "true"

# No deadline: how long an example takes says more about the machine than about the code. CI tries the
# same examples at each run, so that what it says of a change is about that change, and leaves it to
# whoever mends it to find the smallest failing one; everybody else tries new ones at every run, and
# `make histories` many.
settings.register_profile("turnout", deadline=None, print_blob=True)
settings.register_profile(
    "turnout-ci",
    settings.get_profile("turnout"),
    derandomize=True,
    phases=set(Phase) - {Phase.shrink},
)
settings.load_profile("turnout-ci" if IN_CI else "turnout")

if IN_CI:
    pytest_plugins = ["tests.skip_policy"]
