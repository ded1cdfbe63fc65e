"""What an error of etcd or gRPC means: which may be repeated, and which became of nothing."""

from __future__ import annotations

import pytest

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
from turnout.runtime.store.etcd_failures import Remedy, RpcFailed, from_cancelled_watch

ELSEWHERE, LOG_IN, NOTHING = Remedy.ELSEWHERE, Remedy.LOG_IN, Remedy.NOTHING

# code, details, remedy, surely not done, error
MEANINGS: list[tuple[str, str, Remedy, bool, type[StoreError]]] = [
    ("UNAVAILABLE", "failed to connect to all addresses; x", ELSEWHERE, True, StoreUnavailable),
    ("UNAVAILABLE", "etcdserver: no leader", ELSEWHERE, True, StoreUnavailable),
    ("UNAVAILABLE", "etcdserver: not capable", ELSEWHERE, True, StoreUnavailable),
    ("RESOURCE_EXHAUSTED", "etcdserver: too many requests", ELSEWHERE, True, StoreUnavailable),
    ("UNAVAILABLE", "etcdserver: leader changed", ELSEWHERE, False, StoreUnavailable),
    ("UNAVAILABLE", "etcdserver: request timed out", ELSEWHERE, False, StoreUnavailable),
    ("UNAVAILABLE", "etcdserver: server stopped", ELSEWHERE, False, StoreUnavailable),
    ("UNAVAILABLE", "Socket closed", ELSEWHERE, False, StoreUnavailable),
    ("UNKNOWN", "raft proposal dropped", ELSEWHERE, False, StoreUnavailable),
    ("INTERNAL", "", ELSEWHERE, False, StoreUnavailable),
    ("CANCELLED", "Channel closed!", ELSEWHERE, False, StoreUnavailable),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded", ELSEWHERE, False, StoreTimeout),
    ("UNAUTHENTICATED", "etcdserver: invalid auth token", LOG_IN, True, NotAuthorised),
    (
        "INVALID_ARGUMENT",
        "etcdserver: revision of auth store is old",
        LOG_IN,
        True,
        StoreRefused,
    ),
    ("PERMISSION_DENIED", "etcdserver: permission denied", NOTHING, True, NotAuthorised),
    ("INVALID_ARGUMENT", "etcdserver: user name is empty", NOTHING, True, NotAuthorised),
    (
        "FAILED_PRECONDITION",
        "etcdserver: authentication is not enabled",
        NOTHING,
        True,
        NotAuthorised,
    ),
    ("NOT_FOUND", "etcdserver: requested lease not found", NOTHING, True, LeaseExpired),
    (
        "OUT_OF_RANGE",
        "etcdserver: mvcc: required revision has been compacted",
        NOTHING,
        True,
        RevisionCompacted,
    ),
    (
        "OUT_OF_RANGE",
        "etcdserver: mvcc: required revision is a future revision",
        NOTHING,
        True,
        RevisionAhead,
    ),
    ("INVALID_ARGUMENT", "etcdserver: request is too large", NOTHING, True, StoreRefused),
    (
        "RESOURCE_EXHAUSTED",
        "etcdserver: mvcc: database space exceeded",
        NOTHING,
        False,  # etcd applies the transaction that crosses the quota, then says this
        StoreFull,
    ),
]


@pytest.mark.parametrize(("code", "details", "remedy", "surely", "error"), MEANINGS)
def test_failure_means(
    code: str, details: str, remedy: Remedy, surely: bool, error: type[StoreError]
) -> None:
    failure = RpcFailed(code, details, "127.0.0.1:2379")
    assert failure.remedy is remedy
    assert failure.surely_not_done is surely
    assert type(failure.translated()) is error


def test_failure_before_anything_was_sent_surely_did_nothing() -> None:
    failure = RpcFailed("DEADLINE_EXCEEDED", "Deadline Exceeded", "127.0.0.1:2379")
    failure.before_sending = True
    assert failure.surely_not_done


@pytest.mark.parametrize(
    ("reason", "code", "details"),
    [
        ("rpc error: code = PermissionDenied desc = no", "PERMISSION_DENIED", "no"),
        ("rpc error: code = InvalidArgument desc = a: b", "INVALID_ARGUMENT", "a: b"),
        ("rpc error: code = Unavailable desc = x", "UNAVAILABLE", "x"),
        ("something new", "UNAVAILABLE", "something new"),
        ("", "UNAVAILABLE", ""),
    ],
)
def test_reason_of_a_cancelled_watch_is_read(reason: str, code: str, details: str) -> None:
    failure = from_cancelled_watch(reason, "127.0.0.1:2379")
    assert (failure.code, failure.details) == (code, details)
