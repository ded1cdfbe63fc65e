"""All endpoints of one etcd: whom to ask, when to turn to the next, and the log-in.

Everybody asks the same endpoint until somebody finds that it cannot serve; then everybody asks
the next. There is no list of bad ones to age: coming round again is the test whether one is well.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from turnout.runtime.store.etcd_failures import Remedy, RpcFailed
from turnout.runtime.store.etcd_member import HAS_LEADER, EtcdMember, Metadata
from turnout.runtime.store.etcd_messages import Message, Stub, rpc
from turnout.runtime.store.etcd_options import EtcdOptions

# etcd hashes passwords with bcrypt, slowly on purpose.
_LOGIN_TIMEOUTS = 4


class EtcdMembers:
    """The endpoints in the order given, the one in use, and the token they all accept."""

    def __init__(self, options: EtcdOptions) -> None:
        """Make the channels; nothing is connected before the first request."""
        self._options = options
        self._members = [EtcdMember(address, options.tls) for address in options.endpoints]
        self._current = 0
        self._token = ""
        self._logging_in = trio.Lock()

    @property
    def everyone(self) -> tuple[EtcdMember, ...]:
        """All endpoints."""
        return tuple(self._members)

    @property
    def current(self) -> EtcdMember:
        """The endpoint in use."""
        return self._members[self._current]

    def leave(self, member: EtcdMember) -> None:
        """Turn to the next endpoint, unless somebody already has."""
        if self._members[self._current] is member:
            self._current = (self._current + 1) % len(self._members)

    async def ask(
        self, method: Callable[[EtcdMember], Stub], request: Message, *, repeatable: bool
    ) -> Message:
        """Ask until somebody serves; at most every endpoint once, and the first one again.

        What is not ``repeatable`` is sent on only while it surely was not carried out, and all
        within one timeout. Raises ``RpcFailed``, that of the last attempt.
        """
        deadline = trio.current_time() + self._options.timeout_s
        attempts = len(self._members) + 1
        while True:
            member, left_s = self.current, deadline - trio.current_time()
            timeout_s = self._options.timeout_s if repeatable else left_s
            try:
                return await self.ask_member(member, method, request, timeout_s=timeout_s)
            except RpcFailed as failure:
                if failure.remedy is not Remedy.ELSEWHERE:
                    raise
                self.leave(member)
                attempts -= 1
                may_repeat = repeatable or (
                    failure.surely_not_done and trio.current_time() < deadline
                )
                if attempts == 0 or not may_repeat:
                    raise

    async def ask_member(
        self,
        member: EtcdMember,
        method: Callable[[EtcdMember], Stub],
        request: Message,
        *,
        timeout_s: float,
    ) -> Message:
        """Ask this endpoint, logging in again where the token has grown old."""
        metadata = await self.metadata(member)
        try:
            return await member.ask(method(member), request, timeout_s=timeout_s, metadata=metadata)
        except RpcFailed as failure:
            if failure.remedy is not Remedy.LOG_IN:
                raise
        self.forget_login(metadata)
        metadata = await self.metadata(member)
        return await member.ask(method(member), request, timeout_s=timeout_s, metadata=metadata)

    async def status(self, member: EtcdMember) -> Message:
        """Ask this endpoint how it is; that it answers and knows a leader is the news."""
        return await self.ask_member(
            member,
            lambda asked: asked.status,
            rpc.StatusRequest(),
            timeout_s=self._options.timeout_s,
        )

    async def metadata(self, member: EtcdMember) -> Metadata:
        """Return what goes with every request, logging in first where that is due."""
        if self._options.login is None:
            return HAS_LEADER
        async with self._logging_in:
            if not self._token:
                self._token = await self._log_in(member)
        return (*HAS_LEADER, ("token", self._token))

    def forget_login(self, metadata: Metadata) -> None:
        """Drop the token that was sent with this, unless it has been replaced meanwhile."""
        if ("token", self._token) in metadata:
            self._token = ""

    def close(self) -> None:
        """Cancel everything under way and hang up; again is no error."""
        for member in self._members:
            member.close()

    async def _log_in(self, member: EtcdMember) -> str:
        assert self._options.login is not None
        request = rpc.AuthenticateRequest(
            name=self._options.login.user, password=self._options.login.password
        )
        try:
            response = await member.ask(
                member.authenticate,
                request,
                timeout_s=self._options.timeout_s * _LOGIN_TIMEOUTS,
                metadata=HAS_LEADER,
            )
        except RpcFailed as failure:
            failure.before_sending = True
            raise
        return str(response.token)
