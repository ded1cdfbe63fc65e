"""What operators asked for, and what came of it."""

from __future__ import annotations

from tests.simulator.small_world import SWITCH, simulated
from turnout.protocol.clock import SECOND

Came = tuple[float | None, str, str, str | None]


def operation(when: str, do: str, more: str = "") -> str:
    return f'\n[[operation]]\n{when}\ndo = "{do}"\n{more}\n'


def came(*parts: str, until_s: float) -> list[Came]:
    """When each was asked for, what it was, the answer, and a refusal's code."""
    results = simulated(*parts, until_s=until_s).result(wall_ns=0).operations
    return [
        (None if one.asked_ns is None else one.asked_ns / SECOND, one.what, one.answer, one.code)
        for one in results
    ]


def test_operations_are_told_in_order_with_their_answers() -> None:
    service = 'service = "checkout"'
    found = came(
        operation("at_s = 20.0", "rollback", f"{service}\nrepeat = 1"),
        operation("at_s = 30.0", "rollback", service),
        SWITCH,
        operation("at_s = 40.0", "exclude", 'region = "eu-west-1"'),
        operation("at_s = 41.0", "restart", 'node = ["followers"]'),
        until_s=45.0,
    )
    assert found == [
        (6.0, "switch checkout to green", "accepted epoch 3", None),
        (20.0, "rollback checkout", "accepted epoch 4", None),
        (21.0, "rollback checkout again", "accepted epoch 4", None),
        (30.0, "rollback checkout", "refused", "already-undone"),
        (40.0, "exclude eu-west-1", "done", None),
        (41.0, "restart followers", "done", None),
    ]


def test_operation_that_got_no_answer_and_one_whose_moment_never_came_are_told() -> None:
    lost = '[[fault]]\nat_s = 5.0\nkind = "etcd-quorum-loss"\n'
    found = came(lost, operation('when = "decision"', "abort"), SWITCH, until_s=20.0)
    assert found == [
        (6.0, "switch checkout to green", "none", None),
        (None, "abort", "none", None),
    ]


def test_rebase_is_done_when_the_new_incarnation_is_written() -> None:
    rebase = operation("at_s = 10.0", "rebase")
    assert came(rebase, until_s=10.5) == [(10.0, "rebase", "none", None)]
    assert came(rebase, until_s=30.0) == [(10.0, "rebase", "done", None)]
