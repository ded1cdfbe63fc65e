"""Names that are nobody's are refused, also where there would be nothing to do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.coordinator.conftest import Begin
from tests.coordinator.test_refusals import refused


@pytest.mark.parametrize("dry_run", [False, True], ids=["for real", "dry run"])
@pytest.mark.parametrize(
    ("options", "status", "code", "name"),
    [
        ({"exclude": ["mars"]}, 422, "unknown-region", "'mars'"),
        ({"allow_stale": ["nobody"]}, 404, "unknown-agent", "nobody"),
        ({"override": ["freeze"]}, 422, "invalid-field", "point-of-no-return"),
    ],
    ids=["region", "agent", "refusal"],
)
async def test_unknown_name_in_a_switch_to_what_is_in_force_is_refused(
    begin: Begin, *, options: dict[str, Any], status: int, code: str, name: str, dry_run: bool
) -> None:
    world = await begin()
    answer = await world.switch("blue", dry_run=dry_run, **options)
    refused(answer, status, code, name)
    assert (await world.get("/v1/exclusions"))["exclusions"] == []
