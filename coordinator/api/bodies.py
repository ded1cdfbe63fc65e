"""The bodies that operators send, as classes; what they do not name is refused by its name."""

from __future__ import annotations

from typing import TypeVar

import attrs
from attrs import frozen
from starlette.requests import Request as HttpRequest

from turnout.protocol.codec import structure
from turnout.protocol.errors import MalformedError
from turnout.protocol.identifiers import AgentId, Region
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.records import Mode, SignedTable
from turnout.protocol.routing import Colour, RoutingTable
from turnout.protocol.wire import pack_table
from turnout.runtime import problems
from turnout.runtime.http.bodies import read_json
from turnout.runtime.problems import ProblemError
from turnout.runtime.structuring import (
    STRUCTURING_ERRORS,
    Fault,
    faults_of,
    shown,
    strict_converter,
)

MAX_BODY_BYTES = 64 * 1024
MAX_TABLE_BODY_BYTES = MAX_TABLE_BYTES + MAX_BODY_BYTES

T = TypeVar("T", bound=attrs.AttrsInstance)


@frozen(kw_only=True)
class AllowStale:
    """Who may be passed over though stale: agents by name, or a number of them by nobody's name."""

    agents: tuple[AgentId, ...] = ()
    count: int = 0


@frozen(kw_only=True)
class Options:
    """What every kind of switch can be asked with."""

    activation: Mode = Mode.IMMEDIATE
    exclude: tuple[Region, ...] = ()
    allow_stale: AllowStale = AllowStale()
    drain_timeout_s: float | None = None
    override: tuple[str, ...] = ()
    point_of_no_return: str | None = None
    reason: str = ""
    comment: str = ""
    dry_run: bool = False

    @property
    def drain_timeout_ms(self) -> int | None:
        """The drain's time as the protocol counts it."""
        return None if self.drain_timeout_s is None else round(self.drain_timeout_s * 1000)


@frozen(kw_only=True)
class SwitchBody(Options):
    """``POST /v1/switches``."""

    service: str
    to: str

    @property
    def target(self) -> Colour:
        """The colour asked for. Raises ProblemError."""
        try:
            return Colour(self.to)
        except ValueError:
            known = " or ".join(colour.value for colour in Colour)
            detail = f"There is no colour {shown(self.to)}: name {known}."
            raise ProblemError(problems.UNKNOWN_COLOUR.problem(detail)) from None


@frozen(kw_only=True)
class RollbackBody(Options):
    """``POST /v1/rollbacks``; without a service the whole table goes back."""

    service: str | None = None
    undo: int | None = None


@frozen(kw_only=True)
class ApplyBody(Options):
    """``POST /v1/tables``, beside its ``table``."""


@frozen(kw_only=True)
class ReasonBody:
    """``POST .../abort``."""

    reason: str = ""


@frozen(kw_only=True)
class WaiveBody:
    """``POST .../waive``."""

    agent: str
    reason: str


@frozen(kw_only=True)
class EnrolBody:
    """``POST /v1/agents``."""

    agent: str
    region: str
    public_key: str


@frozen(kw_only=True)
class ExcludeBody:
    """``POST /v1/exclusions``."""

    region: str
    reason: str


def _structure_allowance(value: object, _: object) -> AllowStale:
    if type(value) is int:
        return AllowStale(count=value)
    if isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value):
        return AllowStale(agents=tuple(AgentId(one) for one in value))
    raise ValueError(f"must be a list of agents or a number of them, not {shown(value)}")


_CONVERTER = strict_converter()
_CONVERTER.register_structure_hook_func(lambda kind: kind is AllowStale, _structure_allowance)


async def read_as(request: HttpRequest, cls: type[T]) -> T:
    """The request's body as one of these classes; no body is an empty one. Raises ProblemError."""
    return structured(await _plain(request, MAX_BODY_BYTES), cls)


async def read_apply(request: HttpRequest) -> tuple[ApplyBody, RoutingTable]:
    """The body of an apply: its options and its table. Raises ProblemError."""
    plain = await _plain(request, MAX_TABLE_BODY_BYTES)
    if not isinstance(plain, dict) or "table" not in plain:
        raise _invalid([Fault(path="table", message="is missing: it must be the whole table")])
    table = plain.pop("table")
    return structured(plain, ApplyBody), _table(table)


def structured(plain: object, cls: type[T]) -> T:
    """Plain JSON as one of these classes. Raises ProblemError that names every fault.

    An empty text is as good as none where none need be given; a blank one is refused.
    """
    if not isinstance(plain, dict):
        raise _invalid([Fault(path="the body", message=f"must be an object, not {shown(plain)}")])
    optional = {one.name for one in attrs.fields(cls) if one.default == ""}
    given = {name: v for name, v in plain.items() if v != "" or name not in optional}
    try:
        return _CONVERTER.structure(given, cls)
    except STRUCTURING_ERRORS as error:
        raise _invalid(list(faults_of(error))) from error


async def _plain(request: HttpRequest, max_bytes: int) -> object:
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return {}
    return await read_json(request, max_bytes=max_bytes)


def _invalid(faults: list[Fault]) -> ProblemError:
    told = [{"path": fault.path, "message": fault.message} for fault in faults]
    detail = "; ".join(map(str, faults))
    return ProblemError(problems.INVALID_FIELD.problem(detail, faults=told))


def _table(plain: object) -> RoutingTable:
    """A table that may be asked for. Whether it fits the domain is the machine's to say."""
    try:
        table = structure(plain, RoutingTable)
    except MalformedError as error:
        raise ProblemError(problems.INVALID_TABLE.problem(str(error))) from error
    if not table.services:
        detail = "The table has no service: an empty table is never published."
        raise ProblemError(problems.EMPTY_TABLE.problem(detail))
    try:
        pack_table(SignedTable(table=table))
    except MalformedError as error:
        raise ProblemError(problems.TABLE_TOO_LARGE.problem(str(error))) from error
    return table
