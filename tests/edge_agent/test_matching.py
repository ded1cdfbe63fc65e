from __future__ import annotations

import pytest

from edge_agent.drivers.matching import owner
from tests.edge_agent.proxy_harness import make_service, make_table

TABLE = make_table(
    make_service("exact", hosts=("a.shop.example",)),
    make_service("suffix", hosts=("*.shop.example",)),
    make_service("wide", hosts=("*.example",)),
    make_service("prefix", hosts=("a.*",)),
    make_service("rest", hosts=("*",)),
    make_service("api", hosts=("*.example",), path_prefix="/api"),
    make_service("tree", hosts=("files.test",), path_prefix="/tree/"),
)


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("a.shop.example", "/", "exact"),
        ("b.shop.example", "/api", "suffix"),
        ("shop.example", "/", "wide"),
        ("shop.example", "/api", "api"),
        ("shop.example", "/api/x", "api"),
        ("shop.example", "/apis", "wide"),
        ("a.test", "/", "prefix"),
        ("b.test", "/", "rest"),
        ("files.test", "/tree/x", "tree"),
        ("files.test", "/tree", None),
        ("files.test", "/", None),
    ],
)
def test_request_belongs_to_the_most_specific_service(
    host: str, path: str, name: str | None
) -> None:
    found = owner(TABLE, host, path)
    assert (found.name if found else None) == name
