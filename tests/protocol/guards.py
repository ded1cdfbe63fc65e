"""Every guard that a leader's writes must have, and what each of them keeps out: one list.

``test_writes.py`` breaks each of them, one at a time, and compares the list with what ``writes.py``
builds; the table in section 4 of the specification is printed from it. The machines' own waiting
(``standing.is_free``) and the guard of the term hide most of the others from every other test, so a
guard that is not in this list is tested by nobody.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from turnout.protocol import writes
from turnout.protocol.transactions import (
    Absent,
    CreatedAt,
    Equals,
    Guard,
    ModifiedAt,
    Present,
    Transaction,
)


@frozen(kw_only=True)
class Rule:
    """A guard: its kind, its key, and what it keeps out.

    Attributes:
        key: with ``<e>`` for the transaction's own epoch, ``<next>`` for the one after head.
        keeps_out: the reason, for people, with the number of its story.
        when: in which case it is there only, for people; empty: always.
        said: its condition for people, where its kind and key do not say it well enough.
    """

    kind: type[Guard]
    key: str
    keeps_out: str
    when: str = ""
    said: str = ""

    @property
    def text(self) -> str:
        """The sentence of the specification."""
        condition = self.said or _SAID[self.kind].format(self.key)
        when = f", {self.when}" if self.when else ""
        sentence = f"{condition}{when}: {self.keeps_out}."
        return sentence[0].upper() + sentence[1:]


_SAID: dict[type[Guard], str] = {
    Absent: "no `{}`",
    Present: "`{}` exists",
    CreatedAt: "`{}` was created at my term",
    ModifiedAt: "`{}` unchanged",
    Equals: "`{}` as I know it",
}


@frozen(kw_only=True)
class Row:
    """A kind of transaction.

    Attributes:
        names: those that it is sent under.
        builder: the function of ``writes.py``.
        writes: what is written, for people.
        besides: what else there is to say of its guards.
    """

    names: tuple[str, ...]
    builder: Callable[..., Transaction]
    guards: tuple[Rule, ...]
    writes: str
    besides: str = ""


OF_EVERY_ONE = (
    Rule(
        kind=CreatedAt,
        key="leader",
        said="`leader` has my term as its create-revision *in this very transaction*",
        keeps_out="a deposed leader's write fails whenever it arrives (S4)",
    ),
    Rule(
        kind=Equals,
        key="incarnation",
        said="`incarnation` is the one I read",
        keeps_out="what was worked out in one history is not written into the next (H18)",
    ),
)

IF_STORED = "where it is one that is never deleted (any other is written here)"
IF_MARKING = "if it marks"
IF_ASKED = "where I read one"
IF_NEVER_ASKED = "where I read none"
IF_FOR_A_ROLLBACK = "if a rollback asked for it"

_NO_INTENT_OPEN = "**No intent open**"
_NO_OTHER_MARK_IS_LOST = Rule(kind=ModifiedAt, key="standing", keeps_out="no other mark is lost")
_ENTRY_IS_NEW = Rule(
    kind=Absent,
    key="history/<e>/<kind>",
    said="its history entry is new",
    keeps_out="a repeat is known by it, for `standing` may read the same after a change as before",
)
_BEFORE_A_DECISION = (
    Rule(
        kind=Equals,
        key="head",
        keeps_out="decisions follow one another, and none is left out",
    ),
    Rule(kind=Absent, key="decisions/<e>", keeps_out="of racing decisions one wins (S2)"),
)

ROWS = (
    Row(
        names=("create-head",),
        builder=writes.create_head,
        guards=(
            Rule(kind=Absent, key="head", keeps_out="a domain begins once, at one number (P2)"),
        ),
        writes="epoch 0, an empty `standing`",
    ),
    Row(
        names=("accept",),
        builder=writes.accept,
        guards=(
            Rule(
                kind=Equals,
                key="head",
                keeps_out="the plan was made for this number and this base, and nothing came between "
                "(H4)",
            ),
            Rule(
                kind=Absent,
                key="intents/<e>",
                keeps_out="an epoch never has two intents, and none overwrites another leader's (H4)",
            ),
            Rule(
                kind=ModifiedAt,
                key="standing",
                keeps_out="nobody became good after the required set was computed (H6)",
            ),
            Rule(
                kind=Absent,
                key="requests/<key>",
                keeps_out="a repeat is not a second switch (H20)",
            ),
            Rule(
                kind=Present,
                key="tables/<digest>",
                when=IF_STORED,
                keeps_out="no intent names a table that nobody has (H22)",
            ),
        ),
        writes="intent, key, table; a rollback's marks stale whom it cannot reach",
    ),
    Row(
        names=("decide-commit",),
        builder=writes.decide,
        guards=(
            *_BEFORE_A_DECISION,
            Rule(
                kind=Equals,
                key="intents/<e>",
                said="`intents/<e>` is, byte for byte, the one I collected votes for",
                keeps_out="no other required set, no other digest (H4)",
            ),
        ),
        writes="decision, head; a rollback's marks its absent stale",
    ),
    Row(
        names=("decide-abort",),
        builder=writes.decide,
        guards=(
            *_BEFORE_A_DECISION,
            Rule(
                kind=Equals,
                key="intents/<e>",
                when=IF_ASKED,
                said="`intents/<e>` as I read it",
                keeps_out="what is aborted is what was asked for",
            ),
            Rule(
                kind=Absent,
                key="intents/<e>",
                when=IF_NEVER_ASKED,
                keeps_out="a number is used up only if nothing was accepted under it (H3, P2)",
            ),
            Rule(
                kind=Absent,
                key="requests/<key>",
                when=IF_FOR_A_ROLLBACK,
                keeps_out="the key of a rollback that asked for it is no other switch's (H20)",
            ),
        ),
        writes="decision, head, outcome; the key of a rollback that asked for it",
    ),
    Row(
        names=("outcome",),
        builder=writes.write_outcome,
        guards=(
            Rule(kind=Absent, key="outcomes/<e>", keeps_out="it is written once"),
            Rule(
                kind=ModifiedAt,
                key="standing",
                when=IF_MARKING,
                keeps_out="no other mark is lost",
            ),
        ),
        writes="outcome; laggards stale",
    ),
    Row(
        names=("mark-stale",),
        builder=writes.mark_stale,
        guards=(_NO_OTHER_MARK_IS_LOST, _ENTRY_IS_NEW),
        besides="No guard on intents: marking stale never frees an open intent's set (P4).",
        writes="`standing`",
    ),
    Row(
        names=("good", "enrol", "remove", "exclude", "include"),
        builder=writes.change_fleet,
        guards=(
            Rule(
                kind=Equals,
                key="head",
                keeps_out="who becomes good holds the newest commit, and no later number is open",
            ),
            Rule(
                kind=Absent,
                key="intents/<next>",
                said=_NO_INTENT_OPEN,
                keeps_out="nobody becomes good who was not asked (H6, P3)",
            ),
            _NO_OTHER_MARK_IS_LOST,
            _ENTRY_IS_NEW,
        ),
        writes="`standing` always, `agents/`",
    ),
    Row(
        names=("release",),
        builder=writes.release,
        guards=(
            Rule(kind=Absent, key="released/<e>", keeps_out="it is written once"),
            Rule(
                kind=Equals,
                key="head",
                keeps_out="no commit sends to the source again (S9)",
            ),
            Rule(
                kind=Absent,
                key="intents/<next>",
                said=_NO_INTENT_OPEN,
                keeps_out="and none is about to (S9)",
            ),
            Rule(
                kind=ModifiedAt,
                key="standing",
                keeps_out="no agent was enrolled that may send there (S9)",
            ),
        ),
        besides="Refused for one of the last three, it is sent again later.",
        writes="that the source may be scaled down",
    ),
    Row(
        names=("note",),
        builder=writes.note,
        guards=(
            Rule(
                kind=Absent,
                key="history/<e>/<kind>",
                said="its history entry is new",
                keeps_out="a waiver stays as it was first written",
            ),
        ),
        writes="a waiver",
    ),
    Row(
        names=("refusal",),
        builder=writes.refusal,
        guards=(
            Rule(
                kind=Absent,
                key="history/<e>/<kind>",
                said="its history entry is new",
                keeps_out="its key has a number of its own, so it overwrites nothing",
            ),
        ),
        writes="a refused attempt; sent by the daemon beside the machine",
    ),
    Row(
        names=("collect-garbage",),
        builder=writes.collect_garbage,
        guards=(
            Rule(
                kind=Equals,
                key="head",
                keeps_out="nothing was committed that may need it (H22)",
            ),
            Rule(
                kind=Absent,
                key="intents/<next>",
                said=_NO_INTENT_OPEN,
                keeps_out="no intent names it (H22)",
            ),
            Rule(
                kind=ModifiedAt,
                key="standing",
                keeps_out="no agent was enrolled that may serve it (H22)",
            ),
        ),
        writes="deletes tables and idempotency keys that nothing needs",
    ),
)
