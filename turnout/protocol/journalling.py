"""The one way into an agent's journal: what may not wait for it comes before, the rest after."""

from __future__ import annotations

from turnout.protocol.draining import review_drains
from turnout.protocol.effects import Persist, SaveTable
from turnout.protocol.participant_state import Turn
from turnout.protocol.records import AgentRecord, SignedTable
from turnout.protocol.transitions import Cause


def journal(
    turn: Turn,
    cause: Cause | None,
    record: AgentRecord,
    *,
    table: SignedTable | None = None,
    **changes: object,
) -> None:
    """Change the record (and the state with it), durably; first save a table it speaks of.

    Drains are reviewed in between: one that the new record forbids is stopped before the record is
    written, and so before anything is said or done that rests on it (H21).
    """
    is_new = record is not turn.state.record and record != turn.state.record
    turn.change(cause, record=record, **changes)
    saved = table if table is not None and table.digest not in turn.state.tables else None
    if saved is not None:
        turn.change(tables=turn.state.tables.put(saved.digest, saved))
    if is_new or saved is not None:
        review_drains(turn)
    if saved is not None:
        turn.ask(SaveTable(table=saved))
    if is_new:
        turn.ask(Persist(record=record))
