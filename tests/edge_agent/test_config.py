from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_agent.config import EXAMPLE, AgentSettings, load_settings, parse_settings
from edge_agent.daemon import proxy_driver
from edge_agent.drivers.envoy.driver import EnvoyDriver
from edge_agent.drivers.haproxy.driver import HAProxyDriver
from edge_agent.drivers.nginx.driver import NginxDriver
from turnout.runtime.config import ConfigError

FOLDER = Path("/etc/turnout")
REQUIRED = EXAMPLE.partition("# listen =")[0] + '[envoy]\nlisten = "0.0.0.0:8080"\n'


def parse(text: str) -> AgentSettings:
    return parse_settings(text.encode(), source="agent.toml", folder=FOLDER)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    return str(refused.value)


def uncommented(text: str) -> str:
    """The example with every optional key set."""
    return re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE)


def test_example_gives_defaults_where_keys_are_commented_out() -> None:
    given = parse(EXAMPLE)
    assert given == parse(REQUIRED)
    assert given.listen_address == ("127.0.0.1", 0)
    assert given.state_folder == FOLDER / "state"
    assert given.envoy is not None
    assert given.envoy.state_dir == FOLDER / "state/envoy"


def test_example_with_every_key_set_says_what_the_comments_say() -> None:
    given, short = parse(uncommented(EXAMPLE)), parse(REQUIRED)
    assert given.timing == short.timing
    assert given.envoy is not None
    assert short.envoy is not None
    assert given.envoy.connect_timeout_s == short.envoy.connect_timeout_s
    assert given.envoy.binary == Path("/usr/bin/envoy")
    assert given.tls is not None
    assert given.tls.authority == FOLDER / "authority.pem"


def test_file_is_read_with_paths_below_its_folder(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(EXAMPLE)
    assert load_settings(tmp_path / "agent.toml").key_file == tmp_path / "agent.key"


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('id = "EU West"', ["id must have 1 to 63 characters", '"EU West"']),
        ('region = ""', ["region must not be blank"]),
        ("coordinators = []", ["coordinators must name at least one"]),
        ('coordinators = ["coordinator:7100"]', ["coordinators", "https://coordinator:7100"]),
        ('domain_key = "abc"', ["domain_key", "64 lower-case hex digits"]),
        ("key_file = 7", ["key_file", "text", "7"]),
    ],
)
def test_impossible_value_is_refused_with_key_and_rule(line: str, names: list[str]) -> None:
    key = line.partition(" = ")[0]
    text = re.sub(rf"^{key} = .*$", line, REQUIRED, flags=re.MULTILINE)
    said = refusal(text)
    for name in names:
        assert name in said


def test_every_fault_is_named_at_once() -> None:
    said = refusal('id = "A"\nfoo = 1\n')
    for key in ("id must have", "foo is not a known key", "region is missing"):
        assert key in said


def test_proxy_may_be_haproxy() -> None:
    text = REQUIRED.replace("[envoy]", "[haproxy]") + 'threads = 2\nbinary = "haproxy"\n'
    given = parse(text)
    assert given.envoy is None
    assert given.haproxy is not None
    assert given.haproxy.threads == 2
    assert given.haproxy.binary == FOLDER / "haproxy"
    assert given.haproxy.state_dir == FOLDER / "state/haproxy"
    assert isinstance(proxy_driver(given), HAProxyDriver)


def test_haproxy_may_be_somebody_elses() -> None:
    attach = """
[haproxy.attach]
config = ["/etc/haproxy/haproxy.cfg", "more.cfg"]
admin_socket = "/run/haproxy/admin.sock"
master_socket = "/run/haproxy-master.sock"
"""
    given = parse(REQUIRED.replace("[envoy]", "[haproxy]") + attach)
    assert given.haproxy is not None
    assert given.haproxy.attach is not None
    assert given.haproxy.attach.config == (
        Path("/etc/haproxy/haproxy.cfg"),
        FOLDER / "more.cfg",
    )
    assert isinstance(proxy_driver(given), HAProxyDriver)
    nothing = attach.replace('["/etc/haproxy/haproxy.cfg", "more.cfg"]', "[]")
    said = refusal(REQUIRED.replace("[envoy]", "[haproxy]") + nothing)
    assert "haproxy.attach.config must name at least one file" in said


def test_envoy_may_be_somebody_elses() -> None:
    given = parse(REQUIRED + '[envoy.attach]\nconfig = "e.yaml"\nadmin_socket = "/run/e.sock"\n')
    assert given.envoy is not None
    assert given.envoy.attach is not None
    assert given.envoy.attach.config == FOLDER / "e.yaml"
    assert given.envoy.attach.admin_socket == Path("/run/e.sock")
    assert isinstance(proxy_driver(given), EnvoyDriver)


def test_proxy_may_be_nginx() -> None:
    given = parse(REQUIRED.replace("[envoy]", "[nginx]") + "workers = 2\ntable_memory_mib = 8\n")
    assert given.nginx is not None
    assert (given.nginx.workers, given.nginx.table_memory_mib) == (2, 8)
    assert given.nginx.state_dir == FOLDER / "state/nginx"
    assert isinstance(proxy_driver(given), NginxDriver)


def test_nginx_may_be_somebody_elses() -> None:
    attach = '[nginx.attach]\nconfig = "/etc/nginx/nginx.conf"\n'
    given = parse(REQUIRED.replace("[envoy]", "[nginx]") + attach)
    assert given.nginx is not None
    assert given.nginx.attach is not None
    assert given.nginx.attach.config == Path("/etc/nginx/nginx.conf")
    assert isinstance(proxy_driver(given), NginxDriver)


def test_file_names_one_proxy() -> None:
    none = REQUIRED.partition("[envoy]")[0]
    both = REQUIRED + '[haproxy]\nlisten = "0.0.0.0:8081"\n'
    assert "[envoy], [haproxy], [nginx] is missing: the proxy" in refusal(none)
    assert "give one of them, not [envoy] and [haproxy]" in refusal(both)


def test_https_without_tls_is_refused() -> None:
    assert "tls is missing" in refusal(REQUIRED.replace("http://", "https://"))


def test_listening_beyond_loopback_is_refused() -> None:
    text = 'listen = "0.0.0.0:9000"\n' + REQUIRED
    assert "listen must be on the loopback interface" in refusal(text)


def test_silence_shorter_than_two_heartbeats_is_refused() -> None:
    assert "silence_s must be at least twice" in refusal(REQUIRED + "[timing]\nsilence_s = 1.5\n")
