"""Chance by name: one stream's draws leave the others' as they were."""

from __future__ import annotations

from simulator.randomness import Randomness


def test_stream_is_the_same_for_a_seed_and_a_name_whatever_else_is_drawn() -> None:
    first, second = Randomness(7), Randomness(7)
    second.stream("network").random()
    assert first.stream("users").random() == second.stream("users").random()


def test_streams_differ_by_name_and_by_seed() -> None:
    drawn = {
        Randomness(seed).stream(name).getrandbits(64) for seed in (1, 2) for name in ("a", "b")
    }
    assert len(drawn) == 4


def test_figures_are_those_of_every_process() -> None:
    assert Randomness(7).stream("network").getrandbits(32) == 1059530317
