"""Finding a switch wherever it is known, and showing it."""

from __future__ import annotations

from coordinator.api.context import Context
from coordinator.story import Story, in_memory
from coordinator.views.switch import switch_view
from coordinator.views.values import Json
from turnout.protocol.identifiers import Epoch
from turnout.runtime import problems
from turnout.runtime.problems import ProblemError


def known_story(context: Context, epoch: Epoch) -> Story | None:
    """The switch, if this process remembers it."""
    return in_memory(context.state, epoch) or context.recent.get(epoch)


async def story_of(context: Context, epoch: Epoch) -> Story:
    """The switch, from the store where nothing else knows it. Raises ProblemError."""
    story = known_story(context, epoch) or await context.archive.switch(epoch)
    if story is None:
        newest = context.state.head.decided if context.state.head else 0
        detail = f"There is no epoch {epoch}; the newest decided one is {newest}."
        raise ProblemError(problems.UNKNOWN_EPOCH.problem(detail))
    return story


def show(context: Context, story: Story) -> Json:
    """A switch as JSON."""
    return switch_view(story, context.state, context.budget_ns)


async def show_switch(context: Context, epoch: Epoch) -> Json:
    """A switch by its number. Raises ProblemError."""
    return show(context, await story_of(context, epoch))
