from __future__ import annotations

import socket

import pytest

from turnout.runtime import ports
from turnout.runtime.ports import LOWEST, first_outgoing, free_ports


def test_ports_differ_and_no_outgoing_connection_is_given_one() -> None:
    found = free_ports(50)
    assert len(set(found)) == 50
    assert all(LOWEST <= port < first_outgoing() for port in found)


def test_port_that_somebody_has_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken, free) = free_ports(2)
    answers = iter([taken, free])
    monkeypatch.setattr("turnout.runtime.ports.secrets.choice", lambda _room: next(answers))
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", taken))
        assert free_ports(1) == [free]


def test_host_without_a_free_port_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken,) = free_ports(1)
    monkeypatch.setattr("turnout.runtime.ports.secrets.choice", lambda _room: taken)
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", taken))
        with pytest.raises(OSError, match="no free port"):
            free_ports(1)


def test_host_that_gives_all_ports_away_chooses_one_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "first_outgoing", lambda: 1024)
    (port,) = free_ports(1)
    assert port > 0
