from __future__ import annotations

import pytest

from turnout.protocol.keys import plain_kind


@pytest.mark.parametrize(
    ("kind", "plain"), [("decided", "decided"), ("good-1234", "good"), ("waived-eu-a", "waived")]
)
def test_kind_of_an_entry_is_told_without_what_makes_it_unique(kind: str, plain: str) -> None:
    assert plain_kind(kind) == plain
