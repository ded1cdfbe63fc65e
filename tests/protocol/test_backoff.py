from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turnout.protocol.backoff import Backoff

backoffs = st.builds(
    Backoff,
    seed=st.integers(0, 2**64),
    base_ns=st.integers(1, 10**9),
    cap_ns=st.integers(1, 10**10),
)


@given(backoffs, st.integers(0, 80))
def test_pause_is_between_half_and_all_of_the_doubled_and_capped_length(
    backoff: Backoff, failures: int
) -> None:
    for failure in range(failures + 1):
        pause_ns, backoff = backoff.failed()
        whole_ns = min(backoff.cap_ns, backoff.base_ns * 2 ** min(failure, 32))
        assert whole_ns // 2 <= pause_ns <= whole_ns


def test_pause_starts_from_the_base_again_after_a_success() -> None:
    backoff = Backoff(seed=1, base_ns=100, cap_ns=10_000)
    for _ in range(4):
        _, backoff = backoff.failed()
    assert backoff.failed()[0] >= 800
    assert backoff.succeeded().failed()[0] <= 100


def test_draws_are_repeated_by_the_same_seed_and_spread_by_others() -> None:
    def drawn(seed: int) -> list[int]:
        backoff, found = Backoff(seed=seed, base_ns=1, cap_ns=1), []
        for _ in range(4):
            number, backoff = backoff.below(1000)
            found.append(number)
        return found

    assert drawn(7) == drawn(7)
    numbers = [number for seed in range(250) for number in drawn(seed)]
    per_tenth = [sum(tenth * 100 <= n < (tenth + 1) * 100 for n in numbers) for tenth in range(10)]
    assert all(60 <= count <= 140 for count in per_tenth)
