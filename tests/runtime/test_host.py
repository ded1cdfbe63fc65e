from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from attrs import evolve, frozen

from turnout.protocol.clock import SECOND, ClockNs, Instant, MonotonicNs
from turnout.protocol.events import Wake
from turnout.runtime.host import EffectFailed, Host


@frozen
class Say:
    """An event and an effect alike: a word."""

    word: str


@frozen(kw_only=True)
class Heard:
    words: tuple[str, ...] = ()
    wake_at: MonotonicNs | None = None


class Parrot:
    """Repeats each letter as an effect of its own; ``@5`` asks for a wake 5 s from now."""

    def step(self, state: Heard, event: Say | Wake, now: Instant) -> tuple[Heard, tuple[Say, ...]]:
        word = "wake" if isinstance(event, Wake) else event.word
        wake_at = None if isinstance(event, Wake) else state.wake_at
        if word.startswith("@"):
            wake_at = MonotonicNs(now.monotonic_ns + int(word[1:]) * SECOND)
        heard = evolve(state, words=(*state.words, word), wake_at=wake_at)
        return heard, tuple(Say(letter) for letter in word)

    def next_deadline(self, state: Heard) -> MonotonicNs | None:
        return state.wake_at


class Insistent(Parrot):
    """Is always due."""

    def next_deadline(self, _state: Heard, /) -> MonotonicNs | None:
        return MonotonicNs(0)


class TrioClock:
    """Trio's own time, which a mock clock drives."""

    def now(self) -> Instant:
        now_ns = round(trio.current_time() * SECOND)
        return Instant(monotonic_ns=MonotonicNs(now_ns), clock_ns=ClockNs(now_ns), wall_ns=now_ns)


class Mouth:
    """Remembers what was said; a ``!`` fails, a ``?`` takes a second."""

    def __init__(self) -> None:
        self.said: list[str] = []

    async def carry_out(self, effect: Say) -> None:
        if effect.word == "!":
            raise EffectFailed("no voice")
        if effect.word == "?":
            await trio.sleep(1)
        self.said.append(effect.word)

    async def failed(self, reason: str, undone: tuple[Say, ...]) -> Say:
        return Say(f"({reason}:{len(undone)})")


Start = Callable[..., Awaitable[Host[Heard, Say, Say]]]


@pytest.fixture
def mouth() -> Mouth:
    return Mouth()


@pytest.fixture
def start(nursery: trio.Nursery, mouth: Mouth) -> Start:
    async def begin(machine: Parrot | None = None, **options: object) -> Host[Heard, Say, Say]:
        host: Host[Heard, Say, Say] = Host(
            machine or Parrot(),
            Heard(),
            mouth,
            TrioClock(),
            **options,  # type: ignore[arg-type]
        )
        nursery.start_soon(host.run)
        return host

    return begin


async def test_host_carries_effects_out_in_the_order_of_their_events(
    start: Start, mouth: Mouth
) -> None:
    host = await start()
    await host.tell(Say("ab"))
    await host.tell(Say("cd"))
    await trio.testing.wait_all_tasks_blocked()
    assert mouth.said == ["a", "b", "c", "d"]


async def test_host_carries_out_a_whole_step_before_it_takes_the_next_event(
    start: Start, mouth: Mouth, autojump_clock: trio.testing.MockClock
) -> None:
    host = await start()
    await host.tell(Say("a?b"))
    await host.tell(Say("c"))
    await trio.sleep(0.5)
    assert host.state.words == ("a?b",)
    await trio.sleep(1)
    assert mouth.said == ["a", "?", "b", "c"]


async def test_host_drops_the_rest_of_a_step_whose_durable_effect_failed(
    start: Start, mouth: Mouth
) -> None:
    host = await start()
    await host.tell(Say("ab!cd"))
    await trio.testing.wait_all_tasks_blocked()
    assert "c" not in mouth.said[:3]
    assert host.state.words == ("ab!cd", "(no voice:3)")


async def test_host_tells_of_a_failure_before_any_event_that_was_queued(
    start: Start, mouth: Mouth
) -> None:
    host = await start()
    await host.tell(Say("a!b"))
    await host.tell(Say("later"))
    await trio.testing.wait_all_tasks_blocked()
    assert host.state.words == ("a!b", "(no voice:2)", "later")


async def test_host_wakes_the_machine_at_its_deadline_and_not_before(
    start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    host = await start()
    await host.tell(Say("@5"))
    await trio.sleep(4.9)
    assert "wake" not in host.state.words
    await trio.sleep(0.2)
    assert host.state.words == ("@5", "wake")


async def test_host_sleeps_until_a_deadline_that_an_event_has_moved(
    start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    host = await start()
    await host.tell(Say("@5"))
    await trio.sleep(1)
    await host.tell(Say("@9"))
    await trio.sleep(8.9)
    assert "wake" not in host.state.words
    await trio.sleep(0.2)
    assert host.state.words == ("@5", "@9", "wake")


async def test_host_whose_queue_is_never_empty_still_wakes_the_machine(
    start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    host = await start()
    await host.tell(Say("@2"))
    for _ in range(5):
        await host.tell(Say("?"))
    await trio.sleep(10)
    assert host.state.words.index("wake") < len(host.state.words) - 1


async def test_host_of_a_machine_that_is_always_due_still_takes_events(start: Start) -> None:
    host = await start(Insistent())
    await host.tell(Say("a"))
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    assert "a" in host.state.words


async def test_host_with_a_full_queue_refuses_at_once_or_makes_wait(
    start: Start, autojump_clock: trio.testing.MockClock
) -> None:
    host = await start(queue_events=1)
    await host.tell(Say("?"))
    await trio.testing.wait_all_tasks_blocked()
    host.tell_nowait(Say("b"))
    with pytest.raises(trio.WouldBlock):
        host.tell_nowait(Say("c"))
    before = trio.current_time()
    await host.tell(Say("d"))
    assert trio.current_time() - before >= 1


async def test_host_shows_each_step_to_who_watches_after_its_effects(
    start: Start, mouth: Mouth
) -> None:
    seen: list[tuple[int, int, int]] = []

    def watch(before: Heard, after: Heard) -> None:
        seen.append((len(before.words), len(after.words), len(mouth.said)))

    host = await start(after_step=watch)
    await host.tell(Say("ab"))
    await host.tell(Say("c"))
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [(0, 1, 2), (1, 2, 3)]


async def test_host_ends_with_what_its_machine_raises(mouth: Mouth) -> None:
    host: Host[Heard, Say, Say] = Host(Parrot(), Heard(), mouth, TrioClock())
    await host.tell(Say("@soon"))
    with pytest.raises(ValueError, match="soon"):
        await host.run()
