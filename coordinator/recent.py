"""Switches that are over and no longer in the machine's state, remembered with their details.

The store keeps what a switch came to. Who had voted what, and which edge flipped when, is kept here
for the newest ones, so that whoever watches a switch sees its end. Soft: a restart forgets it.
"""

from __future__ import annotations

from collections import OrderedDict

from attrs import evolve

from coordinator.story import Story, of_attempt, of_following
from turnout.protocol import keys
from turnout.protocol.codec import decode
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.effects import Operation
from turnout.protocol.identifiers import Epoch
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.records import Outcome, Verdict
from turnout.protocol.storing import RELEASE
from turnout.protocol.transactions import Put
from turnout.protocol.transitions import SwitchPhase

MAX_STORIES = 64


class Recent:
    """The newest switches that ended here."""

    def __init__(self) -> None:
        self._stories: OrderedDict[Epoch, Story] = OrderedDict()

    def get(self, epoch: Epoch) -> Story | None:
        """The story of an epoch, if it is remembered."""
        return self._stories.get(epoch)

    def stepped(self, before: CoordinatorState, after: CoordinatorState) -> None:
        """Remember what a step of the leader brought to its end."""
        if after.role is not Role.LEADING or before.term != after.term:
            self._stories.clear()  # another leader may have gone on with what this one began
            return
        if before.attempt is not None and after.attempt is None:
            self._aborted(before, after)
        if before.following is not after.following:
            for epoch in before.following:
                if epoch not in after.following:
                    self._followed(before, after, epoch)

    def _aborted(self, before: CoordinatorState, after: CoordinatorState) -> None:
        attempt = before.attempt
        assert attempt is not None
        decision = after.library.get(attempt.epoch)
        if decision is not None and decision.verdict is Verdict.ABORT:
            outcome = _written(before, attempt.epoch)
            story = of_attempt(attempt)
            aborted = SwitchPhase.ABORTED
            self._keep(
                evolve(story, decision=decision, outcome=outcome, phase=aborted, is_over=True)
            )

    def _followed(self, before: CoordinatorState, after: CoordinatorState, epoch: Epoch) -> None:
        """Followed until now: released, or its source is a later switch's business."""
        following = before.following[epoch]
        story = of_following(following)
        outcome = following.outcome or following.writing
        is_released = _is_released(before, after, epoch)
        phase = SwitchPhase.RELEASED if is_released else SwitchPhase.RETAINED
        self._keep(evolve(story, outcome=outcome, phase=phase, is_over=True))

    def _keep(self, story: Story) -> None:
        self._stories[story.epoch] = story
        if len(self._stories) > MAX_STORIES:
            self._stories.popitem(last=False)


def _is_released(before: CoordinatorState, after: CoordinatorState, epoch: Epoch) -> bool:
    """Whether it was the release's transaction that was answered, and with success.

    A refused one leaves the switch as it is.
    """
    release = Operation(RELEASE, epoch, before.term)
    return release in before.pending and release not in after.pending


def _written(state: CoordinatorState, epoch: Epoch) -> Outcome | None:
    """The outcome that an abort's transaction, which has just won, wrote with the decision."""
    for transaction in state.pending.values():
        for write in transaction.writes:
            if isinstance(write, Put) and write.key == keys.outcome(epoch):
                return decode(write.value, Outcome, limit=MAX_TABLE_BYTES)
    return None
