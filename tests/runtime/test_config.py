from __future__ import annotations

import codecs
import os
from enum import Enum
from pathlib import Path
from typing import Literal

import attrs
import pytest
from attrs.validators import ge, instance_of, le
from hypothesis import given
from hypothesis import strategies as st

from turnout.runtime.config import MAX_FILE_BYTES, ConfigError, load_toml, parse_toml
from turnout.runtime.structuring import FaultsError, strict_converter


class Mode(Enum):
    FAST = "fast"
    SAFE = "safe"


@attrs.frozen(kw_only=True)
class Health:
    path: str = "/healthz"
    timeout_s: float = attrs.field(default=1.0, validator=ge(0.1))
    min_healthy: float = attrs.field(default=1.0, validator=[ge(0.0), le(1.0)])


@attrs.frozen(kw_only=True)
class Service:
    hosts: tuple[str, ...]
    active: Literal["blue", "green"]
    drain_timeout_s: float = 30.0
    health: Health = attrs.field(factory=Health)
    backends: dict[str, dict[str, list[str]]] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Settings:
    listen: str
    port: int = attrs.field(validator=[ge(1), le(65535)])
    mode: Mode = Mode.SAFE
    verbose: bool = False
    data: Path = Path("/var/lib/x")
    note: str | None = None
    low: int = 1
    high: int = attrs.field(default=9)
    service: dict[str, Service] = attrs.field(factory=dict)

    @high.validator
    def _above_low(self, _attribute: object, value: int) -> None:
        if value <= self.low:
            raise ValueError(f"must be above low, which is {self.low}")


GOOD = """
listen = "127.0.0.1"
port = 7100
mode = "fast"
verbose = true
data = "/tmp/x"
note = "hello"

[service.checkout]
hosts = ["checkout.example"]
active = "blue"
drain_timeout_s = 5
[service.checkout.health]
path = "/up"
[service.checkout.backends.eu-west-1]
blue = ["10.0.0.1:8080"]
"""


def faults(text: str, cls: type = Settings) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_toml(text.encode(), cls, source="agent.toml")
    assert str(caught.value).startswith("agent.toml: ")
    return [str(fault) for fault in caught.value.faults]


def test_good_file_becomes_its_classes(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(GOOD)
    assert load_toml(path, Settings) == Settings(
        listen="127.0.0.1",
        port=7100,
        mode=Mode.FAST,
        verbose=True,
        data=Path("/tmp/x"),
        note="hello",
        service={
            "checkout": Service(
                hosts=("checkout.example",),
                active="blue",
                drain_timeout_s=5.0,
                health=Health(path="/up"),
                backends={"eu-west-1": {"blue": ["10.0.0.1:8080"]}},
            )
        },
    )


def test_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain.toml", tmp_path / "marked.toml"
    plain.write_text(GOOD)
    marked.write_bytes(codecs.BOM_UTF8 + GOOD.encode())
    assert load_toml(marked, Settings) == load_toml(plain, Settings)


def test_every_fault_is_named_at_once() -> None:
    text = """
    listen = " "
    port = "7100"
    mode = "quick"
    verbos = true
    [service.checkout]
    hosts = ["", 7]
    active = "blu"
    [service.checkout.health]
    timeout_s = 0
    min_healthy = 2
    [service.cart]
    hosts = "cart.example"
    """
    assert faults(text) == [
        'verbos is not a known key (did you mean "verbose"?); allowed here: listen, port, mode, verbose, data, note, low, high, service',
        "listen must not be blank",
        'port must be a whole number, not "7100"',
        'mode must be one of "fast", "safe", not "quick"',
        "service.checkout.hosts[0] must not be blank",
        "service.checkout.hosts[1] must be a text, not 7",
        'service.checkout.active must be one of "blue", "green", not "blu" (did you mean "blue"?)',
        "service.checkout.health.timeout_s must be >= 0.1: 0.0",
        "service.checkout.health.min_healthy must be <= 1.0: 2.0",
        'service.cart.hosts must be a list, not "cart.example"',
        'service.cart.active is missing: it must be one of "blue", "green"',
    ]


HEAD = 'listen = "x"\nport = 1\n'


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("verbose = 1", "verbose must be true or false, not 1"),
        ("low = true", "low must be a whole number, not true"),
        ("low = 1.0", "low must be a whole number, not 1.0"),
        ("data = 7", "data must be a text, not 7"),
        ("note = ''", "note must not be blank"),
        ("low = 9", "high must be above low, which is 9"),
        ("port = 2\n", "it is not valid TOML: Cannot overwrite a value (at line 3, column 9)"),
        ("service = []", "service must be a table, not []"),
        ("service.a = 1", "service.a must be a table, not 1"),
        ("service.'a b' = 1", 'service."a b" must be a table, not 1'),
        ("service.'' = 1", 'service."" must not be blank'),
        ("service.a = {hosts = [['x']], active = 'blue'}", 'service.a.hosts[0] must be a text, not ["x"]'),
        ("service.a = {hosts = [], active = 'blue', drain_timeout_s = nan}",
         "service.a.drain_timeout_s must be a finite number, not nan"),
        ("service.a = {hosts = [], active = 'blue', drain_timeout_s = '30s'}",
         'service.a.drain_timeout_s must be a number, not "30s"'),
        ("low = 1979-05-27", 'low must be a whole number, not "1979-05-27"'),
    ],
)  # fmt: skip
def test_single_fault_is_named_with_its_key(line: str, fault: str) -> None:
    assert fault in faults(HEAD + line)


def test_missing_keys_say_what_they_must_be() -> None:
    assert faults("low = 2") == [
        "listen is missing: it must be a text",
        "port is missing: it must be a whole number",
    ]


def test_validator_that_looks_at_a_faulty_field_keeps_silent() -> None:
    assert faults(HEAD + "low = 'x'\nhigh = 0") == ['low must be a whole number, not "x"']


def test_value_in_a_fault_is_cut_short_and_harmless_to_terminals() -> None:
    (fault,) = faults(HEAD + 'low = "\\u001b[31m' + "x" * 500 + '"')
    assert "\x1b" not in fault
    assert len(fault) < 150


@attrs.frozen(kw_only=True)
class Backend:
    host: str
    port: int


@attrs.frozen(kw_only=True)
class Backends:
    backends: list[Backend]
    extra: int = attrs.field(default=0, validator=instance_of(int))


def test_callers_hook_is_used_inside_collections() -> None:
    def from_text(value: object, _: object) -> Backend:
        if not isinstance(value, str) or ":" not in value:
            raise ValueError("must be host:port")
        host, _, port = value.rpartition(":")
        return Backend(host=host, port=int(port))

    converter = strict_converter()
    converter.register_structure_hook(Backend, from_text)
    good = parse_toml(b'backends = ["a:1"]', Backends, source="x", converter=converter)
    assert good.backends == [Backend(host="a", port=1)]
    with pytest.raises(ConfigError, match=r"x: backends\[1\] must be host:port"):
        parse_toml(b'backends = ["a:1", "b"]', Backends, source="x", converter=converter)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty: not one key is set"),
        (b"# only a comment\n", "it is empty"),
        (b"a = 1\nb = '\xff'\n", "line 2 is not UTF-8 text"),
        (b"a = \n", "it is not valid TOML"),
        (b"a = " + b"[" * 100_000, "it is nested too deeply"),
        (b"a = " + b"9" * 5000, "it is not valid TOML"),
        (b"#" * (MAX_FILE_BYTES + 1), f"it is larger than {MAX_FILE_BYTES} bytes"),
    ],
    ids=["empty", "comment", "utf-8", "syntax", "deep", "digits", "huge"],
)
def test_file_that_is_no_configuration_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "agent.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_toml(path, Settings)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_toml(tmp_path / "agent.toml", Settings)


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}: .*not a file"):
        load_toml(tmp_path, Settings)


def test_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="it is not a file"):
        load_toml(pipe, Settings)


def test_unreadable_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "agent.toml"
    path.write_text(GOOD)
    monkeypatch.setattr(os, "open", denied)  # root, as whom tests may run, may read anything
    with pytest.raises(ConfigError, match="it may not be read by this user"):
        load_toml(path, Settings)


toml_values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
keys = st.sampled_from(["listen", "port", "mode", "service", "hosts", "x"]) | st.text(max_size=5)


@given(st.sampled_from([{}, {"listen": "::1", "port": 7100}]), st.dictionaries(keys, toml_values))
def test_any_value_is_taken_or_refused_but_never_breaks_the_loader(
    required: dict[str, object], drawn: dict[str, object]
) -> None:
    value = required | drawn
    try:
        taken = strict_converter().structure(value, Settings)
    except FaultsError:
        return
    assert (taken.listen, taken.port) == (value["listen"], value["port"])


@attrs.frozen(kw_only=True)
class Everything:
    flag: bool
    ratio: float
    home: Path
    mode: Mode
    colour: Literal["blue", "green"]
    hosts: list[str]
    regions: dict[str, str]
    health: Health
    port: int | None
    span: range


def test_every_kind_of_missing_value_is_described() -> None:
    assert faults("x = 1", Everything)[1:] == [
        "flag is missing: it must be true or false",
        "ratio is missing: it must be a number",
        "home is missing: it must be a path",
        'mode is missing: it must be one of "fast", "safe"',
        'colour is missing: it must be one of "blue", "green"',
        "hosts is missing: it must be a list",
        "regions is missing: it must be a table",
        "health is missing: it must be a table",
        "port is missing: it must be a whole number",
        "span is missing: it must be a range",
    ]
