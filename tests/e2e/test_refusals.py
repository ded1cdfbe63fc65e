"""Bad input through the command and over plain HTTP: a clear refusal, and nothing has changed.

"Nothing" is every key of the domain in etcd, compared before and after; only the leader's lease and
the history, which may tell of a refusal, are left out.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import evolve, frozen

from tests.e2e.site import Site, pause, resume
from turnout.dev.plan import SERVICE
from turnout.protocol import keys
from turnout.protocol.codec import converter, decode
from turnout.protocol.identifiers import AgentId, Digest, Epoch, Region, Term
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.messages import Report, Up, Vote
from turnout.protocol.records import Incarnation, IncarnationRecord
from turnout.protocol.signing import Ed25519Signer, signed
from turnout.protocol.transactions import Range
from turnout.protocol.wire import encode
from turnout.runtime.key_file import load_signer
from turnout.runtime.table_file import load_table

pytestmark = pytest.mark.slow

REFUSED, USAGE = 3, 2


async def snapshot(site: Site) -> dict[str, bytes]:
    found = await site.store.read(Range("", prefix=True))
    return {
        entry.key: entry.value
        for entry in found.items
        if entry.key != keys.LEADER and not entry.key.startswith(keys.HISTORY)
    }


@asynccontextmanager
async def nothing_changed(site: Site) -> AsyncIterator[None]:
    before = await snapshot(site)
    assert keys.HEAD in before
    yield
    assert await snapshot(site) == before


async def post(
    site: Site, path: str, body: object = None, *, content: bytes | None = None, key: str = ""
) -> httpx.Response:
    """A request as a script without the command would make it."""
    data = json.dumps(body).encode() if content is None else content
    headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {})
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=20) as client:
        return await client.post(site.plan.coordinators[0] + path, content=data, headers=headers)


def is_problem(answer: httpx.Response, status: int, name: str, *words: str) -> None:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    found = answer.status_code, document["type"], document["status"]
    assert found == (status, f"urn:turnout:problem:{name}", status), document
    assert document["title"]
    for word in words:
        assert word in document["detail"], document["detail"]


# ---------------------------------------------------------------- the command


@frozen
class Typed:
    """A command, and what must come of it."""

    arguments: tuple[str, ...]
    code: int
    words: tuple[str, ...]


COMMANDS = (
    Typed(("switch", "chekout", "--to", "green"), REFUSED, ("chekout", "checkout")),
    Typed(("switch", SERVICE, "--to", "red"), REFUSED, ("red", "blue", "green")),
    Typed(("switch", SERVICE, "--to", "green", "--exclude", "mars"), REFUSED, ("mars",)),
    Typed(("switch", SERVICE, "--to", "blue", "--override", "freeze"), REFUSED, ("freeze",)),
    Typed(("rollback", SERVICE), REFUSED, ("first table",)),
    Typed(("rollback", SERVICE, "--undo", "99"), REFUSED, ("99",)),
    Typed(("abort", "99"), REFUSED, ("99",)),
    Typed(("exclude", "mars", "--reason", "why not"), REFUSED, ("mars",)),
    Typed(("switch", SERVICE, "--to", "green", "--drain-timeout", "soon"), USAGE, ("soon",)),
)

GOOD = """\
[service.checkout]
hosts = ["checkout.example"]
active = "blue"
"""
FILES = {
    "malformed": ("[service", ("not valid TOML",)),
    "no backends": (GOOD, ("backends",)),
    "empty": ("", ("is empty",)),
    "no services": ("[service]\n", ("service",)),
    "blank": (GOOD.replace("checkout.example", " "), ("hosts",)),
    "unknown key": (GOOD + "colour = 1\n", ("colour",)),
    "wrong type": (GOOD.replace('["checkout.example"]', "7"), ("hosts",)),
}


async def test_commands_that_cannot_be_done_say_why_and_change_nothing(
    small_site: Site, tmp_path: Path
) -> None:
    site = small_site
    async with nothing_changed(site):
        for typed in COMMANDS:
            ended = await site.turnout(*typed.arguments)
            assert ended.code == typed.code, (typed, ended)
            assert not ended.document
            said_well(ended.said, *typed.words)
        for name, (text, words) in FILES.items():
            path = tmp_path / f"{name}.toml"
            path.write_text(text)
            ended = await site.turnout("apply", "-f", str(path))
            assert ended.code == REFUSED, (name, ended)
            said_well(ended.said, *words)


def said_well(said: str, *words: str) -> None:
    assert "Traceback" not in said, said
    for word in words:
        assert word in said, said


# ---------------------------------------------------------------- the operator API


async def test_requests_that_cannot_be_done_are_problems_and_change_nothing(
    small_site: Site,
) -> None:
    site = small_site
    switch = {"service": SERVICE, "to": "green"}
    async with nothing_changed(site):
        for path, body, status, name, words in (
            ("switches", {**switch, "service": "x"}, 404, "unknown-service", (SERVICE,)),
            ("switches", {**switch, "to": "red"}, 422, "unknown-colour", ("red", "green")),
            ("switches", {**switch, "exclude": ["mars"]}, 422, "unknown-region", ("mars",)),
            ("switches", {**switch, "service": " "}, 422, "invalid-field", ("service",)),
            ("switches", {**switch, "colour": "x"}, 422, "invalid-field", ("colour",)),
            ("switches", {"service": SERVICE}, 422, "invalid-field", ("to",)),
            ("rollbacks", {"service": SERVICE}, 409, "nothing-to-undo", ()),
            ("switches/99/abort", {}, 404, "unknown-epoch", ("99",)),
        ):
            is_problem(await post(site, f"/v1/{path}", body), status, name, *words)
        for content in (b"{", b'{"to": "green", "to": "blue"}', b"\xff"):
            answer = await post(site, "/v1/switches", content=content)
            is_problem(answer, 400, "malformed-json")


async def test_tables_that_cannot_be_served_are_problems_and_change_nothing(
    small_site: Site,
) -> None:
    site = small_site
    (region,) = site.regions
    table = load_table(site.plan.table_file)
    (service,) = table.services
    elsewhere = evolve(service.backends[0], region=Region("mars"))
    # Names that do not compress.
    hosts = tuple(f"{n * 2654435761 % 2**64:x}.{n**7:x}.example" for n in range(60_000))
    async with nothing_changed(site):
        for services, status, name, words in (
            ([], 422, "empty-table", ()),
            ([evolve(service, backends=(elsewhere,))], 422, "no-backends", (region.name,)),
            ([evolve(service, hosts=("",))], 422, "invalid-table", ("host",)),
            ([evolve(service, hosts=hosts)], 413, "table-too-large", ("1048576", "16777216")),
        ):
            plain = {"services": [converter.unstructure(one) for one in services]}
            is_problem(await post(site, "/v1/tables", {"table": plain}), status, name, *words)
        unknown = {"services": [{**converter.unstructure(service), "hosst": []}]}
        is_problem(
            await post(site, "/v1/tables", {"table": unknown}), 422, "invalid-table", "hosst"
        )


async def test_same_key_means_the_same_switch_and_no_other_may_run_beside_it(
    small_site: Site,
) -> None:
    site = small_site
    (region,) = site.regions
    body = {"service": SERVICE, "to": "green"}
    epoch = await site.next_epoch()
    pause(site.agent(region).pid)
    first = await post(site, "/v1/switches", body, key="release-7")
    assert (first.status_code, first.json()["epoch"]) == (202, epoch)
    async with nothing_changed(site):
        again = await post(site, "/v1/switches", body, key="release-7")
        assert again.json()["epoch"] == epoch
        other = await post(site, "/v1/switches", {**body, "to": "blue"}, key="release-7")
        is_problem(other, 409, "idempotency-conflict", "release-7")
        is_problem(await post(site, "/v1/switches", body), 409, "switch-in-progress", str(epoch))
        ended = await site.turnout("switch", SERVICE, "--to", "green")
        assert ended.code == REFUSED, ended
    resume(site.agent(region).pid)
    await site.appears(keys.outcome(epoch))


async def test_rollback_of_what_is_undone_already_is_refused_and_changes_nothing(
    small_site: Site,
) -> None:
    site = small_site
    switched = await site.fleet.switch("green", is_drained=True)
    ended = await site.turnout("rollback", SERVICE)
    assert ended.code == 0, ended.said
    undo = {"service": SERVICE, "undo": switched["epoch"]}
    async with nothing_changed(site):
        is_problem(await post(site, "/v1/rollbacks", undo), 409, "already-undone")
        ended = await site.turnout("rollback", SERVICE, "--undo", str(switched["epoch"]))
        assert ended.code == REFUSED, ended


# ---------------------------------------------------------------- agents


@frozen
class Impostor:
    """Somebody who speaks to the coordinator as an agent would."""

    site: Site
    agent: AgentId
    incarnation: Incarnation
    signer: Ed25519Signer

    def report(self, sent_ns: int = 1, **changes: Any) -> Report:
        report = Report(
            agent=self.agent,
            region=Region("nowhere"),
            incarnation=self.incarnation,
            journal_id="00",
            promised=Term(0),
            sent_ns=sent_ns,  # type: ignore[arg-type]
        )
        return signed(evolve(report, **changes), self.signer)

    def vote(self, term: int) -> Vote:
        vote = Vote(
            agent=self.agent,
            incarnation=self.incarnation,
            term=Term(term),
            epoch=Epoch(2),
            digest=Digest("00" * 32),
            journal_id="00",
        )
        return signed(vote, self.signer)

    async def say(self, message: Up) -> httpx.Response:
        return await post(self.site, "/v1/agent/reports", content=encode(message))


async def test_agents_messages_that_cannot_be_believed_are_problems_and_change_nothing(
    small_site: Site,
) -> None:
    site = small_site
    (region,) = site.regions
    key = load_signer(site.plan.folder / "agents" / region.name / "agent.key")
    other = Ed25519Signer.from_seed(bytes(32))
    stored = (await site.store.read(Range(keys.INCARNATION))).get(keys.INCARNATION)
    assert stored is not None
    incarnation = decode(stored.value, IncarnationRecord, limit=MAX_TABLE_BYTES).incarnation
    term = (await site.status())["term"]
    agent = AgentId(region.agent)
    true = Impostor(site, agent, incarnation, key)
    thief = Impostor(site, agent, incarnation, other)
    stranger = Impostor(site, AgentId("nobody"), incarnation, other)
    async with nothing_changed(site):
        is_problem(await stranger.say(stranger.report()), 404, "unknown-agent", "nobody")
        is_problem(await thief.say(thief.report()), 403, "bad-signature", agent)
        forged = evolve(true.report(), reason="changed on its way")
        is_problem(await true.say(forged), 403, "bad-signature", agent)
        is_problem(await true.say(true.vote(term - 1)), 409, "stale-term", str(term))
        is_problem(await true.say(true.vote(term)), 409, "not-asked")
        past = evolve(incarnation, number=0)
        is_problem(await true.say(evolve(true, incarnation=past).vote(term)), 409, "stale-term")
        # The agent's clock has run on since it was connected: what was sent at 1 is old.
        is_problem(await true.say(true.report(sent_ns=1)), 409, "replayed")
        answer = await post(site, "/v1/agent/reports", content=b"{}")
        is_problem(answer, 422, "invalid-field")
    assert (await site.ask(region)).colour == "blue"
    assert (await site.fleet.switch("green"))["outcome"] == "live"
