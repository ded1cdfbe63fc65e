from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turnout.protocol.clock import ZERO, Instant, MonotonicNs
from turnout.protocol.timers import Timers


def at(monotonic_ns: int) -> Instant:
    return ZERO._replace(monotonic_ns=MonotonicNs(monotonic_ns))


def test_nothing_armed_is_never_due() -> None:
    assert Timers().next() is None
    assert Timers().expired(at(10**9)) == ()
    assert Timers().disarm("a") == Timers()


def test_deadline_is_due_at_its_moment_and_not_before() -> None:
    timers = Timers().arm("a", 5)
    assert timers.expired(at(4)) == ()
    assert timers.expired(at(5)) == ("a",)


def test_deadlines_that_have_come_are_told_earliest_first() -> None:
    timers = Timers().arm("a", 7).arm("b", 3).arm("c", 9)
    assert timers.expired(at(8)) == ("b", "a")


actions = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 20)), max_size=20)


@given(actions, st.integers(0, 20))
def test_timers_are_a_dictionary_of_names(
    script: list[tuple[str, int | None]], now_ns: int
) -> None:
    timers, twin = Timers(), dict[str, int]()
    for name, moment in script:
        if moment is None:
            timers = timers.disarm(name)
            twin.pop(name, None)
        else:
            timers = timers.arm(name, moment)
            twin[name] = moment
    assert dict(timers.due) == twin
    assert timers.due == tuple(sorted(timers.due))
    assert timers.next() == min(twin.values(), default=None)
    assert sorted(timers.expired(at(now_ns))) == sorted(n for n, m in twin.items() if m <= now_ns)
    assert all(timers.armed(name) == (name in twin) for name in "abc")
