"""Hypothesis strategies for the protocol's values: any that can be built, and consistent tables."""

from __future__ import annotations

from hypothesis import strategies as st

from turnout.protocol.clock import ClockNs, MonotonicNs
from turnout.protocol.identifiers import (
    AgentId,
    Digest,
    Epoch,
    Region,
    ReplicaId,
    ServiceName,
    Term,
)
from turnout.protocol.messages import (
    DrainStatus,
    No,
    Prepare,
    Progress,
    Rebase,
    Receipt,
    Report,
    Sync,
    Vote,
)
from turnout.protocol.records import (
    Activation,
    Active,
    AgentRecord,
    Commitment,
    Head,
    Incarnation,
    IncarnationRecord,
    Kind,
    Mode,
    Prepared,
    SignedTable,
)
from turnout.protocol.routing import (
    AfterDrain,
    Backends,
    Colour,
    Health,
    OnFailure,
    OnIsolation,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
)

LONGEST_NS = 10**20

names = st.text("abxyz09", min_size=1, max_size=6) | st.sampled_from(["eu-west-1", "a.b", "x_1"])
digests = st.binary(min_size=32, max_size=32).map(lambda raw: Digest(raw.hex()))
signatures = st.binary(max_size=64).map(bytes.hex)
# Texts as people write them: any Unicode that UTF-8 can carry, newlines included.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
epochs = st.integers(0, 10**9).map(Epoch)
terms = st.integers(0, 2**63).map(Term)
lengths_ns = st.integers(0, LONGEST_NS)
moments_ns = st.integers(-LONGEST_NS, LONGEST_NS)
agent_ids = names.map(AgentId)
replica_ids = names.map(ReplicaId)
regions = names.map(Region)
service_names = names.map(ServiceName)

# --- tables -------------------------------------------------------------------------------------

paths = st.sampled_from(["/", "/a", "/api/v1", "/healthz/"])
addresses = st.builds(lambda host, port: f"{host}:{port}", names, st.integers(1, 65_535))
backends = st.one_of(
    st.builds(
        Backends,
        addresses=st.lists(addresses, min_size=1, max_size=3, unique=True).map(tuple),
    ),
    st.builds(Backends, cluster=names),
)
weights = st.integers(0, 100).map(lambda blue: Weights(blue=blue, green=100 - blue))
healths = st.builds(
    Health,
    path=paths,
    timeout_ms=st.integers(1, 60_000),
    min_healthy_percent=st.integers(0, 100),
    version_path=st.none() | paths,
)


def region_backends() -> st.SearchStrategy[tuple[RegionBackends, ...]]:
    """Backends in some regions, sorted, each region once."""
    one = st.builds(RegionBackends, region=regions, blue=backends, green=backends)
    several = st.lists(one, min_size=1, max_size=3, unique_by=lambda entry: entry.region)
    return several.map(lambda entries: tuple(sorted(entries, key=lambda entry: entry.region)))


services = st.builds(
    Service,
    name=service_names,
    hosts=st.lists(names, min_size=1, max_size=2, unique=True).map(tuple),
    path_prefix=paths,
    weights=weights,
    health=healths,
    backends=region_backends(),
    drain_timeout_ms=st.integers(0, 86_400_000),
    after_drain=st.sampled_from(AfterDrain),
    retain_ms=st.integers(0, 10**9),
    on_isolation=st.sampled_from(OnIsolation),
    on_failure=st.sampled_from(OnFailure),
)


def _apart(found: list[Service]) -> RoutingTable:
    """A table of these services, without those that match what an earlier one matches."""
    kept: list[Service] = []
    taken: set[tuple[str, str]] = set()
    for service in sorted(found, key=lambda s: s.name):
        matches = {(host, service.path_prefix) for host in service.hosts}
        if not matches & taken:
            kept.append(service)
            taken |= matches
    return RoutingTable(services=tuple(kept))


tables = st.lists(services, min_size=1, max_size=3, unique_by=lambda s: s.name).map(_apart)
"""Consistent tables."""

signed_tables = st.builds(SignedTable, table=tables, signature=signatures)

# --- records ------------------------------------------------------------------------------------

incarnations = st.builds(Incarnation, number=st.integers(0, 99), id=names)
activations = st.builds(
    Activation,
    mode=st.sampled_from(Mode),
    time_ns=st.none() | moments_ns.map(ClockNs),
    g_ns=lengths_ns,
    bound_ns=st.none() | lengths_ns,
    reason=texts,
)
heads = st.builds(
    Head,
    incarnation=incarnations,
    decided=epochs,
    committed=epochs,
    digest=digests,
    base=digests,
    term=terms,
    replica=replica_ids,
    activation=activations,
    drain_timeout_ms=st.none() | st.integers(0, 86_400_000),
    history=digests,
    signature=signatures,
)
prepared = st.builds(Prepared, epoch=epochs, digest=digests, term=terms)
actives = st.builds(Active, epoch=epochs, digest=digests)
agent_records = st.builds(
    AgentRecord,
    journal_id=names,
    incarnation=st.none() | incarnations,
    promised=terms,
    prepared=st.none() | prepared,
    committed=st.none()
    | st.builds(Commitment, head=heads, due_wall_ns=moments_ns, late=st.booleans()),
    active=actives,
)

# --- messages -----------------------------------------------------------------------------------

prepares = st.builds(
    Prepare,
    incarnation=incarnations,
    term=terms,
    replica=replica_ids,
    head=heads,
    epoch=epochs,
    digest=digests,
    kind=st.sampled_from(Kind),
    table=st.none() | signed_tables,
)
syncs = st.builds(
    Sync,
    incarnation=incarnations,
    term=terms,
    replica=replica_ids,
    head=st.none() | heads,
    table=st.none() | signed_tables,
)
receipts = st.builds(
    Receipt,
    term=terms,
    replica=replica_ids,
    echo_ns=moments_ns.map(MonotonicNs),
    clock_ns=moments_ns.map(ClockNs),
    wall_ns=moments_ns,
    wall_bound_ns=st.none() | lengths_ns,
)
rebases = st.builds(
    Rebase,
    record=st.builds(
        IncarnationRecord,
        incarnation=incarnations,
        predecessor=st.none() | incarnations,
        first_epoch=epochs,
        signature=signatures,
    ),
)
votes = st.builds(
    Vote,
    agent=agent_ids,
    incarnation=incarnations,
    term=terms,
    epoch=epochs,
    digest=digests,
    journal_id=names,
    no=st.none() | st.sampled_from(No),
    reason=texts,
    staging_ns=lengths_ns,
    round_trip_ns=st.none() | lengths_ns,
    bound_ns=st.none() | lengths_ns,
    signature=signatures,
)
drains = st.builds(
    DrainStatus,
    epoch=epochs,
    service=service_names,
    colour=st.sampled_from(Colour),
    in_flight=st.integers(0, 10**6),
    ended=st.sampled_from(["", "empty", "timeout", "closed"]),
)
reports = st.builds(
    Report,
    agent=agent_ids,
    region=regions,
    incarnation=st.none() | incarnations,
    journal_id=names,
    promised=terms,
    prepared=st.none() | prepared,
    committed=st.none() | heads,
    active=actives,
    progress=st.sampled_from(Progress),
    reason=texts,
    flipped_at_ns=st.none() | moments_ns.map(ClockNs),
    live_at_ns=st.none() | moments_ns.map(ClockNs),
    bound_ns=st.none() | lengths_ns,
    late=st.booleans(),
    staged_lost=texts,
    drains=st.lists(drains, max_size=3).map(tuple),
    tables=st.lists(digests, max_size=3).map(tuple),
    sent_ns=moments_ns.map(MonotonicNs),
    signature=signatures,
)
downs = st.one_of(prepares, syncs, receipts, rebases)
ups = st.one_of(votes, reports)
