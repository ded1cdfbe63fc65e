"""The edge at which gRPC's and etcd's errors become ours; no other file looks at their texts.

Two questions matter about a failed request, and a careless answer to the second would cost
safety, so it is only ever "surely not" where the list below says so:

1. Can another endpoint, or a fresh log-in, help?
2. Was it surely **not** carried out?

etcd tells its errors by gRPC code and text (``api/v3rpc/rpctypes/error.go``). Texts that appear
before a member hands a request to Raft are listed as such after reading ``api/v3rpc/interceptor.go``
and ``etcdserver/v3_server.go`` of 3.4. A full database is *not* among them: etcd applies the
transaction that crosses the quota and then reports the error (``quotaApplierV3``).
"""

from __future__ import annotations

import re
from enum import Enum

import grpc

from turnout.runtime.store.errors import (
    LeaseExpired,
    NotAuthorised,
    RevisionAhead,
    RevisionCompacted,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreTimeout,
    StoreUnavailable,
)


class Remedy(Enum):
    """What may help after a failed request."""

    ELSEWHERE = "another endpoint"
    LOG_IN = "a fresh log-in"
    NOTHING = "nothing"


_NOT_CONNECTED = "failed to connect to all addresses"
_BEFORE_RAFT = (
    "etcdserver: no leader",
    "etcdserver: not capable",
    "etcdserver: too many requests",
    "etcdserver: rpc not supported for learner",
)
_STALE_LOGIN = (
    "etcdserver: invalid auth token",
    "etcdserver: revision of auth store is old",
)
_NO_SPACE = "etcdserver: mvcc: database space exceeded"
_NO_LEASE = "etcdserver: requested lease not found"
_COMPACTED = "etcdserver: mvcc: required revision has been compacted"
_AHEAD = "etcdserver: mvcc: required revision is a future revision"
_AUTH_OFF = "etcdserver: authentication is not enabled"
_REFUSALS = ("INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "FAILED_PRECONDITION")
_AUTH_CODES = ("UNAUTHENTICATED", "PERMISSION_DENIED")
_AUTH_TEXTS = ("etcdserver: authentication failed", "etcdserver: user name is empty", _AUTH_OFF)


class RpcFailed(Exception):  # noqa: N818 - reads as what happened
    """One request failed at one endpoint. It never leaves the package."""

    def __init__(self, code: str, details: str, address: str) -> None:
        """Remember gRPC's code name and text, and whom we asked."""
        super().__init__(f"{code} from {address}: {details}")
        self.code = code
        self.details = details
        self.address = address
        self.before_sending = False

    @property
    def remedy(self) -> Remedy:
        """What may help."""
        if self.details in _STALE_LOGIN:
            return Remedy.LOG_IN
        if self._refused:
            return Remedy.NOTHING
        return Remedy.ELSEWHERE

    @property
    def surely_not_done(self) -> bool:
        """Whether the request was certainly not carried out, and never will be."""
        return (
            self.before_sending
            or (self._refused and self.details != _NO_SPACE)
            or self.details in _STALE_LOGIN
            or self.details in _BEFORE_RAFT
            or self.details.startswith(_NOT_CONNECTED)
        )

    @property
    def _refused(self) -> bool:
        too_much = self.code == "RESOURCE_EXHAUSTED" and self.details not in _BEFORE_RAFT
        return too_much or self.code in _REFUSALS or self.code in _AUTH_CODES

    def translated(self) -> StoreError:
        """Return the error of our own tree, with a text for people."""
        where = f"etcd at {self.address}"
        if self.code in _AUTH_CODES or self.details.startswith(_AUTH_TEXTS):
            return NotAuthorised(f"{where} does not let us: {self.details}; {_advice(self)}")
        if self.details == _NO_LEASE:
            return LeaseExpired("the lease has expired or was revoked; its keys are gone")
        if self.details == _COMPACTED:
            return RevisionCompacted("that revision has been compacted away; list again")
        if self.details == _AHEAD:
            return RevisionAhead(f"{where} does not have that revision yet, or has lost it")
        if self.details == _NO_SPACE:
            return StoreFull(f"{where} is full: compact, defragment, disarm its NOSPACE alarm")
        if self._refused:
            return StoreRefused(f"{where} refused the request: {self.details}")
        if self.code == "DEADLINE_EXCEEDED":
            return StoreTimeout(f"{where} did not answer in time")
        return StoreUnavailable(f"{where} cannot serve: {self.details or self.code}")


def _advice(failure: RpcFailed) -> str:
    if failure.details == _AUTH_OFF:
        return "a user is configured here: enable authentication there, or take the user out here"
    return "check user, password and certificate, and the role's rights to the domain's prefix"


def from_grpc(error: grpc.RpcError, address: str) -> RpcFailed:
    """Translate what gRPC raised."""
    return RpcFailed(error.code().name, error.details() or "", address)


def from_cancelled_watch(reason: str, address: str) -> RpcFailed:
    """Translate why etcd cancelled a watch: Go's text of a gRPC error, or anything else."""
    told = re.fullmatch(r"rpc error: code = (\w+) desc = (.*)", reason, re.DOTALL)
    if told is None:
        return RpcFailed("UNAVAILABLE", reason, address)
    code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", told[1]).upper()
    return RpcFailed(code, told[2], address)
