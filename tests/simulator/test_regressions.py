"""What the simulator has found stays found: with its mend taken out, each one's scenario breaks again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
from attrs import evolve, frozen

from simulator import agent_link
from simulator.patches import Patches
from simulator.scenario_file import load_scenario
from simulator.shipped import find
from simulator.simulation import run
from tests.architecture import ROOT
from turnout.protocol import (
    draining,
    election,
    landing,
    learning,
    participant,
    serving,
    takeover,
    voting,
)
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.coordinator_state import Following
from turnout.protocol.events import Refusal, Staged
from turnout.protocol.identifiers import Digest, Epoch
from turnout.protocol.limits import Timing
from turnout.protocol.messages import Progress, Report
from turnout.protocol.openings import Openings
from turnout.protocol.participant_state import NOTHING, Turn
from turnout.protocol.records import Head
from turnout.protocol.timing_settings import TimingSettings
from turnout.protocol.transitions import Cause


def every_exchange_counts(patch: Patches) -> None:
    """An exchange that had to dial passes for a round trip."""
    posted: Callable[..., None] = agent_link._Try._posted
    patch.setattr(agent_link._Try, "_posted", lambda one, *what: posted(one, *what[:-1], False))


def drains_of_its_own_number_only(patch: Patches) -> None:
    """A leader looks for the drain that the switch itself began, and for no other."""

    def drain_ended(following: Following, report: Report) -> bool:
        if report.active.epoch < following.epoch or report.progress is not Progress.LIVE:
            return False
        return all(drain.ended for drain in report.drains if drain.epoch == following.epoch)

    patch.setattr(landing, "_drain_ended", drain_ended)


def leads_whoever_is_left(patch: Patches) -> None:
    """A leader that no agent reaches stays."""
    patch.setattr(takeover, "hand_over_if_alone", lambda *_, **__: None)


def says_what_it_could_not_write(patch: Patches) -> None:
    """A vote that a failed write kept back is said all the same, whatever its term."""
    patch.setattr(voting, "_vote_again", lambda turn, vote, _event: turn.send(vote))


def drains_what_it_remembers(patch: Patches) -> None:
    """An agent drains what its journal says that it has left, and an empty one says nothing."""
    patch.setattr(draining, "unused_colours", lambda _table: ())


def waits_half_a_second_for_the_store(patch: Patches) -> None:
    """A request to etcd has the same time, however far etcd is away."""
    patch.setattr(Timing, "store_timeout_ns", 500 * MS)


def compares_what_was_decided_last(patch: Patches) -> None:
    """Two histories that end with the same number pass for one."""
    patch.setattr(Head, "contradicts", lambda head, other: other.decided > head.decided)


def leaves_its_claim(patch: Patches) -> None:
    """A replica forgets what it left in the leader key."""
    patch.setattr(election, "_given_up", lambda _state, _claim: ())


def waits_for_the_store_to_let_go(patch: Patches) -> None:
    """Nobody looks whether a lease that etcd has prolonged is renewed."""
    patch.setattr(election.Election, "is_watched", False)


def elects_as_slowly_as_across_two_oceans(patch: Patches) -> None:
    """What was planned for whatever members of etcd are more than 100 ms apart."""
    fitting = TimingSettings.timing

    def timing(section: TimingSettings) -> Timing:
        return evolve(fitting(section), election_ns=3 * SECOND, lease_ttl_ns=5 * SECOND)

    patch.setattr(TimingSettings, "timing", timing)


def streams_never_end(patch: Patches) -> None:
    """What follows the newest report of a stream is heard, whatever became of that stream."""
    patch.setattr(Openings, "closed", lambda *_: None)


def repeats_a_yes_whatever_the_term(patch: Patches) -> None:
    """What was staged again after a proxy's restart is followed by the yes of its own term."""

    def restaged(turn: Turn, event: Staged) -> None:
        assert event.refusal is None
        voting._say_yes(turn)

    patch.setattr(voting, "_restaged", restaged)


def takes_a_late_flip_for_none(patch: Patches) -> None:
    """A flip that was not seen in time passes for one that never happened."""
    refused = serving.refused

    def forgetting(turn: Turn, epoch: Epoch, digest: Digest, refusal: Refusal) -> None:
        turn.change(ahead=False)
        refused(turn, epoch, digest, refusal)

    patch.setattr(serving, "refused", forgetting)


def waits_again_for_what_was_active(patch: Patches) -> None:
    """A restart goes by the date alone, also for a commit that was active before."""
    schedule = learning.schedule

    def forgetting(turn: Turn, cause: Cause) -> None:
        record = turn.state.record
        turn.state = evolve(turn.state, record=evolve(record, active=NOTHING))
        schedule(turn, cause)
        turn.state = evolve(turn.state, record=record)

    patch.setattr(participant, "schedule", forgetting)


@frozen
class Mend:
    """How to take a mend out, and what its scenario breaks without it."""

    taken_out: Callable[[Patches], None]
    number: str


MENDS: Mapping[str, Mend] = {
    "handshake-is-no-round-trip": Mend(every_exchange_counts, "expect.reached"),
    "late-agent-still-drains": Mend(drains_of_its_own_number_only, "S9"),
    "leader-without-agents": Mend(leads_whoever_is_left, "expect.outcome"),
    "yes-of-a-full-disk": Mend(says_what_it_could_not_write, "S3"),
    "replaced-disk-still-drains": Mend(drains_what_it_remembers, "S9"),
    "store-across-the-world": Mend(waits_half_a_second_for_the_store, "expect.elapsed_s_max"),
    "claim-outlives-its-reign": Mend(leaves_its_claim, "expect.converged_within_s"),
    "both-leaders-die-as-an-agent-returns": Mend(
        elects_as_slowly_as_across_two_oceans, "expect.converged_within_s"
    ),
    "abort-of-what-a-restore-has-lost": Mend(compares_what_was_decided_last, "expect.refused"),
    "turned-away-and-heard-no-more": Mend(streams_never_end, "S10"),
    "yes-of-an-older-term": Mend(repeats_a_yes_whatever_the_term, "S4"),
    "late-flip-is-drained": Mend(takes_a_late_flip_for_none, "S9"),
    "votes-are-split": Mend(waits_for_the_store_to_let_go, "L2"),
    "forgotten-by-proxy-and-clock": Mend(waits_again_for_what_was_active, "run"),
}


@pytest.mark.parametrize("name", MENDS)
def test_scenario_of_a_mistake_breaks_its_promise_without_the_mend(name: str) -> None:
    scenario = load_scenario(find(name))
    with Patches() as patches:
        MENDS[name].taken_out(patches)
        broken = run(scenario, keep_story=False)
    assert MENDS[name].number in broken.violated, broken.violated
    assert run(scenario, keep_story=False).violated == ()


def test_whatever_was_found_has_such_a_scenario() -> None:
    readme = (ROOT / "simulator" / "README.md").read_text(encoding="utf-8")
    rows = readme.split("## What it has found")[1].split("\n\n")[1].splitlines()[2:]
    linked = [re.findall(r"\(scenarios/([\w-]+)\.toml\)", row) for row in rows]
    assert linked == [[name] for name in MENDS]
