"""Virtual time jumps from one appointment to the next, in one order."""

from __future__ import annotations

from simulator.virtual_time import Agenda


def test_appointments_are_kept_in_the_order_of_time_and_then_of_making() -> None:
    agenda, kept = Agenda(), []
    agenda.at(20, lambda: kept.append("late"))
    agenda.at(10, lambda: kept.append("first"))
    agenda.at(10, lambda: kept.append("second"))
    agenda.run(until_ns=100)
    assert kept == ["first", "second", "late"]
    assert agenda.now_ns == 100
    assert agenda.events == 3


def test_what_is_made_meanwhile_is_kept_too_and_never_before_now() -> None:
    agenda, moments = Agenda(), []

    def later() -> None:
        agenda.at(3, lambda: moments.append(agenda.now_ns))

    agenda.at(5, later)
    agenda.run(until_ns=10)
    assert moments == [5]


def test_cancelled_appointment_does_not_happen() -> None:
    agenda, kept = Agenda(), []
    appointment = agenda.after(5, lambda: kept.append("kept"))
    appointment.cancel()
    agenda.run(until_ns=10)
    assert kept == []
    assert agenda.events == 0


def test_run_ends_at_its_moment_or_once_it_is_done() -> None:
    agenda, kept = Agenda(), []
    for at in (1, 2, 3):
        agenda.at(at, lambda at=at: kept.append(at))  # type: ignore[misc]
    assert agenda.run(until_ns=9, done=lambda: len(kept) == 2)
    assert kept == [1, 2]
    assert not agenda.run(until_ns=2)
    agenda.run(until_ns=3)
    assert kept == [1, 2, 3]
