"""rollback: it names the epoch that it undoes before it is sent."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from tests.cli.conftest import Run
from tests.cli.fake_coordinator import FakeCoordinator, live, switch
from turnout.runtime import problems

APPLIED = live(epoch=1, kind="apply", service=None)
SWITCHED = live(epoch=5, requested={"actor": "ada"})
OTHER = live(epoch=6, service="search")
ABORTED = switch(epoch=6, phase="aborted", outcome="aborted")
BACK = live(epoch=7, kind="rollback", requested={"undo": 5})


def newest_first(fake: FakeCoordinator, *switches: dict[str, Any]) -> None:
    fake.answer("GET", "/v1/switches", {"switches": list(switches)})
    fake.answer("POST", "/v1/rollbacks", switch(kind="rollback", requested={"undo": 5}))
    fake.tell(7, [BACK])


def sent(fake: FakeCoordinator) -> list[tuple[int | None, bool]]:
    bodies = fake.bodies("POST", "/v1/rollbacks")
    return [(body.get("undo"), body.get("dry_run", False)) for body in bodies]


def test_services_newest_change_is_said_and_sent(run: Run, fake: FakeCoordinator) -> None:
    newest_first(fake, OTHER, SWITCHED, APPLIED)
    result = run("rollback", "checkout", at=fake)
    assert result.exit_code == 0
    said = "This undoes epoch 5, checkout from blue to green, asked for by ada."
    assert said in result.stderr
    assert sent(fake) == [(5, False)]
    assert "checkout back from blue to green (undoes epoch 5)" in result.stdout


def test_what_is_sent_again_is_the_same_request(run: Run, fake: FakeCoordinator) -> None:
    newest_first(fake, SWITCHED)
    lost = problems.NO_LEADER.problem("Being elected.")
    fake.answer("POST", "/v1/rollbacks", lost, switch(kind="rollback"))
    assert run("rollback", "checkout", at=fake).exit_code == 0
    first, again = [one for one in fake.seen if one.method == "POST"]
    assert first.body == again.body
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]


def test_lost_answer_is_asked_for_with_key_and_epoch(run: Run, fake: FakeCoordinator) -> None:
    newest_first(fake, SWITCHED)
    fake.answer("POST", "/v1/rollbacks", problems.NO_LEADER.problem("Being elected."))
    result = run("rollback", "checkout", "--idempotency-key", "k1", at=fake)
    assert result.exit_code == 8
    assert "--undo 5 --idempotency-key k1" in result.stderr


def test_switch_that_is_not_decided_yet_is_the_one_to_undo(run: Run, fake: FakeCoordinator) -> None:
    newest_first(fake, switch(), SWITCHED)
    aborted = switch(phase="aborted", outcome="aborted", reason="rollback requested by ada")
    fake.answer("POST", "/v1/rollbacks", aborted)
    fake.tell(7, [aborted])
    result = run("rollback", "checkout", at=fake)
    assert sent(fake) == [(7, False)]
    assert "Epoch 7 was not decided yet: it is aborted" in result.stderr
    assert result.exit_code == 0


def test_rollback_that_is_aborted_itself_exits_with_4(run: Run, fake: FakeCoordinator) -> None:
    newest_first(fake, SWITCHED)
    fake.tell(7, [switch(kind="rollback", phase="aborted", outcome="aborted")])
    assert run("rollback", "checkout", at=fake).exit_code == 4


def test_second_press_asks_for_the_same_again_and_never_rolls_forward(
    run: Run, fake: FakeCoordinator
) -> None:
    newest_first(fake, BACK, SWITCHED)
    done = problems.ALREADY_UNDONE.problem("'checkout' is as it was before epoch 5.")
    fake.answer("POST", "/v1/rollbacks", done)
    result = run("rollback", "checkout", at=fake)
    assert result.exit_code == 3
    assert sent(fake) == [(5, False)]
    assert "To undo that rollback itself: --undo 7." in result.stderr
    assert "is as it was before epoch 5" in result.stderr


def test_same_key_after_a_lost_answer_is_the_same_request(run: Run, fake: FakeCoordinator) -> None:
    newest_first(fake, SWITCHED)
    assert run("rollback", "checkout", "--idempotency-key", "k1", at=fake).exit_code == 0
    newest_first(fake, BACK, SWITCHED)
    assert run("rollback", "checkout", "--idempotency-key", "k1", at=fake).exit_code == 0
    first, again = [one for one in fake.seen if one.method == "POST"]
    assert first.body == again.body
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"] == "k1"


def test_second_press_after_an_abort_does_not_undo_one_more(
    run: Run, fake: FakeCoordinator
) -> None:
    newest_first(fake, ABORTED, SWITCHED)
    nothing = problems.UNKNOWN_EPOCH.problem("Epoch 6 is not committed.")
    fake.answer("POST", "/v1/rollbacks", nothing)
    result = run("rollback", "checkout", at=fake)
    assert result.exit_code == 3
    assert sent(fake) == [(6, False)]
    assert "it was aborted" in result.stderr
    assert "To undo the one before, checkout from blue to green: --undo 5." in result.stderr


def test_rollback_that_was_aborted_is_tried_again(run: Run, fake: FakeCoordinator) -> None:
    failed = switch(epoch=6, kind="rollback", phase="aborted", requested={"undo": 5})
    newest_first(fake, failed, SWITCHED)
    assert run("rollback", "checkout", at=fake).exit_code == 0
    assert sent(fake) == [(5, False)]


def test_rollback_that_does_not_say_what_it_undid_is_not_guessed_at(
    run: Run, fake: FakeCoordinator
) -> None:
    newest_first(fake, live(kind="rollback"), SWITCHED)
    result = run("rollback", "checkout", at=fake)
    assert result.exit_code == 3
    assert "name it: --undo 7" in result.stderr
    assert sent(fake) == []


def test_change_of_the_whole_table_counts_if_it_changed_the_service(
    run: Run, fake: FakeCoordinator
) -> None:
    newest_first(fake, live(epoch=6, kind="apply", service=None), SWITCHED)
    untouched = problems.NOTHING_TO_UNDO.problem("Epoch 6 did not change 'checkout'.")
    fake.answer("POST", "/v1/rollbacks", untouched, switch(kind="rollback"))
    assert run("rollback", "checkout", at=fake).exit_code == 0
    assert sent(fake) == [(6, True), (5, False)]
    fake.seen.clear()
    plan = JSONResponse({"dry_run": True})
    fake.answer("POST", "/v1/rollbacks", plan, switch(kind="rollback"))
    assert run("rollback", "checkout", at=fake).exit_code == 0
    assert sent(fake) == [(6, True), (6, False)]


def test_unknown_service_is_the_coordinators_to_refuse(run: Run, fake: FakeCoordinator) -> None:
    newest_first(fake, SWITCHED)
    fake.answer(
        "POST", "/v1/rollbacks", problems.UNKNOWN_SERVICE.problem("No epoch changed 'chekout'.")
    )
    fake.answer("GET", "/v1/services", {"services": [{"service": "checkout"}]})
    result = run("rollback", "chekout", at=fake)
    assert result.exit_code == 3
    assert "Did you mean checkout?" in result.stderr
    assert sent(fake) == [(None, True)]


def test_epoch_that_is_named_is_taken_at_its_word(run: Run, fake: FakeCoordinator) -> None:
    newest_first(fake)
    assert run("rollback", "--undo", "5", at=fake).exit_code == 0
    assert sent(fake) == [(5, False)]
    assert run("rollback", at=fake).exit_code == 2
