from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from turnout.runtime.log import configure_logging, redact


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(one) for one in out.getvalue().splitlines()]


def test_json_line_has_time_level_event_and_context(out: io.StringIO) -> None:
    configure_logging(json_lines=True, file=out)
    with structlog.contextvars.bound_contextvars(epoch=17, agent="eu/a"):
        structlog.get_logger().info("voted", vote="yes")
    (line,) = lines(out)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("time")))
    expected = {"event": "voted", "vote": "yes", "level": "info", "epoch": 17, "agent": "eu/a"}
    assert line == expected


def test_level_is_kept_and_can_be_changed(out: io.StringIO) -> None:
    log = structlog.get_logger()
    configure_logging(level="warning", json_lines=True, file=out)
    log.info("not heard")
    configure_logging(level="debug", json_lines=True, file=out)
    log.debug("heard")
    assert [one["event"] for one in lines(out)] == ["heard"]


def test_file_that_is_no_terminal_gets_json(out: io.StringIO) -> None:
    configure_logging(file=out)
    structlog.get_logger().info("voted")
    assert lines(out)[0]["event"] == "voted"


def test_readable_line_has_the_same_facts(out: io.StringIO) -> None:
    configure_logging(json_lines=False, file=out)
    structlog.get_logger().info("voted", vote="yes")
    assert re.search(r"Z .*info.*voted.*vote.*yes", out.getvalue())


def test_libraries_are_heard_from_warnings_upwards_and_redacted(out: io.StringIO) -> None:
    configure_logging(json_lines=True, file=out)
    logging.getLogger("httpx").info("not heard")
    logging.getLogger("httpx").warning("sent %s", "Authorization: Bearer abc.def")
    (line,) = lines(out)
    assert (line["logger"], line["level"]) == ("httpx", "warning")
    assert line["event"] == "sent Authorization: Bearer [hidden]"


def test_exception_is_logged_without_values_of_variables(out: io.StringIO) -> None:
    configure_logging(json_lines=False, file=out)
    hidden = "hunter" + "2"
    try:
        raise ValueError("boom")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "ValueError: boom" in out.getvalue()
    assert hidden not in out.getvalue()


@pytest.mark.parametrize(
    "name",
    ["key", "private_key", "signing-key", "signingKey", "TOKEN", "tokens", "Authorization",
     "enrolment_token", "password", "client_secret", "cookie"],
)  # fmt: skip
def test_secret_name_hides_its_value(name: str) -> None:
    assert redact(None, "info", {name: "s3cret"}) == {name: "[hidden]"}


@pytest.mark.parametrize("name", ["idempotency_key", "public_key", "Idempotency-Key", "keyboard"])
def test_harmless_name_keeps_its_value(name: str) -> None:
    assert redact(None, "info", {name: "shown"}) == {name: "shown"}


def test_secret_is_hidden_in_nested_values_and_in_text() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"
    event = {
        "event": f"read {pem} from disk",
        "headers": [{"authorization": "x"}, "bearer abc"],
        "raw": b"Bearer abc",
        "cut": "-----BEGIN EC PRIVATE KEY-----\nMIIE",
        "deep": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}},
    }
    assert redact(None, "info", event) == {
        "event": "read [hidden] from disk",
        "headers": [{"authorization": "[hidden]"}, "bearer [hidden]"],
        "raw": "Bearer [hidden]",
        "cut": "[hidden]",
        "deep": {"a": {"b": {"c": {"d": {"e": {"f": "[hidden]"}}}}}},
    }
