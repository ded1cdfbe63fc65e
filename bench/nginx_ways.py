"""Which way to change nginx's routes without a reload costs what: the choice behind the nginx driver.

    python -m bench.nginx_ways [--seconds 5] [--flips 100] [--json]

One nginx, one worker, a backend that is nginx itself; the same two backends, chosen by

- *static*: a ``proxy_pass`` that never changes, for comparison;
- *symlink*: a file below ``root .../active``, read through ``$realpath_root``, flipped by one rename;
- *njs*: a file that each request reads, flipped by one rename;
- *lua*: shared memory, as the driver has it, flipped by one request to another listener.

wrk asks as fast as it can. Throughput is given as a share of *static*, measured right before it, since
machines differ. A flip takes from its order to the first answer of the other backend.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import click
import httpx
from attrs import asdict, frozen

from bench.workplace import machine, workplace
from edge_agent.drivers.nginx.settings import find_binary
from turnout.runtime.ports import free_ports

_MODULES: Final = Path("/usr/lib/nginx/modules")
_CONNECTIONS: Final = 16
_PATIENCE_S: Final = 10.0
_COLOURS: Final = ("blue", "green")

_CONFIG: Final = """\
{modules}
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  open_file_cache off;
  {http}
  upstream blue {{ server 127.0.0.1:{blue}; keepalive 64; keepalive_requests 1000000000; }}
  upstream green {{ server 127.0.0.1:{green}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      {location}
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
  server {{ listen 127.0.0.1:{blue}; location / {{ return 200 "blue\\n"; }} }}
  server {{ listen 127.0.0.1:{green}; location / {{ return 200 "green\\n"; }} }}
  {more}
}}
"""


@frozen(kw_only=True)
class Way:
    """How one way is configured and flipped.

    Attributes:
        flip: has the proxy send to a colour, given the folder and the port of ``more``.
    """

    name: str
    modules: str = ""
    http: str = ""
    location: str
    more: str = ""
    flip: Callable[[Path, int, str], None]


@frozen(kw_only=True)
class Result:
    """What one way came to."""

    way: str
    requests_per_s: int
    share_of_static: float
    flip_ms_p50: float | None
    flip_ms_p99: float | None


def _nothing(_folder: Path, _port: int, _colour: str) -> None:
    """A way that never flips."""


def _swap_link(folder: Path, _port: int, colour: str) -> None:
    link = folder / "next"
    link.symlink_to(folder / colour)
    link.rename(folder / "active")


def _swap_file(folder: Path, _port: int, colour: str) -> None:
    path = folder / "next"
    path.write_text(colour, encoding="utf-8")
    path.rename(folder / "active.txt")


def _tell(_folder: Path, port: int, colour: str) -> None:
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)) as connection:
        connection.request("GET", f"/{colour}")
        assert connection.getresponse().read() == b"done"


def _ways(folder: Path, more: int) -> tuple[Way, ...]:
    njs = folder / "turnout.js"
    njs.write_text(
        "import fs from 'fs';\n"
        f"function colour(r) {{ return fs.readFileSync('{folder}/active.txt', 'utf8'); }}\n"
        "export default {colour};\n",
        encoding="utf-8",
    )
    return (
        Way(name="static", location="proxy_pass http://blue;", flip=_nothing),
        Way(
            name="symlink",
            http='map $realpath_root $colour { "~/(?<found>blue|green)$" $found; }',
            location=f"root {folder}/active; proxy_pass http://$colour;",
            flip=_swap_link,
        ),
        Way(
            name="njs",
            modules=f"load_module {_MODULES}/ngx_http_js_module.so;",
            http=f"js_path {folder}; js_import main from turnout.js; js_set $colour main.colour;",
            location="proxy_pass http://$colour;",
            flip=_swap_file,
        ),
        Way(
            name="lua",
            modules=f"load_module {_MODULES}/ndk_http_module.so;\n"
            f"load_module {_MODULES}/ngx_http_lua_module.so;",
            http="lua_shared_dict live 1m;\n"
            'init_by_lua_block { ngx.shared.live:set("colour", "blue") }',
            location='set_by_lua_block $colour { return ngx.shared.live:get("colour") }\n'
            "proxy_pass http://$colour;",
            more=f"server {{ listen 127.0.0.1:{more}; location / {{ content_by_lua_block {{ "
            'ngx.shared.live:set("colour", ngx.var.uri:sub(2)) ngx.print("done") } } }',
            flip=_tell,
        ),
    )


@contextmanager
def _running(way: Way, folder: Path, ports: tuple[int, int, int]) -> Iterator[None]:
    port, blue, green = ports
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            modules=way.modules,
            user="user root root;" if os.geteuid() == 0 else "",
            folder=folder,
            http=way.http,
            location=way.location,
            more=way.more,
            port=port,
            blue=blue,
            green=green,
        ),
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [str(find_binary(None)), "-p", str(folder), "-e", "stderr", "-c", str(config)],
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(port, "blue")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _await(port: int, colour: str) -> None:
    """Ask until this colour answers, each time on a new connection."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError), httpx.Client(trust_env=False) as client:
            if client.get(f"http://127.0.0.1:{port}/").text == f"{colour}\n":
                return
    raise SystemExit(f"{colour} does not answer on port {port} within {_PATIENCE_S:g} s")


def _throughput(port: int, seconds: float) -> float:
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds:g}s", f"http://127.0.0.1:{port}/"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found, said
    return float(found[1])


def _flips_ms(way: Way, folder: Path, ports: tuple[int, int], flips: int) -> list[float]:
    port, more = ports
    times = []
    with httpx.Client(trust_env=False) as client:
        for number in range(flips):
            colour = _COLOURS[(number + 1) % 2]
            began_s = time.perf_counter()
            way.flip(folder, more, colour)
            while client.get(f"http://127.0.0.1:{port}/").text != f"{colour}\n":
                pass
            times.append((time.perf_counter() - began_s) * 1000)
    return sorted(times)


def _measure(seconds: float, flips: int) -> list[Result]:
    results = []
    with workplace() as folder:
        for colour in _COLOURS:
            (folder / colour).mkdir()
        port, blue, green, more = free_ports(4)
        static, *others = _ways(folder, more)
        for way in others:
            _swap_link(folder, more, "blue")
            _swap_file(folder, more, "blue")
            with _running(static, folder, (port, blue, green)):
                base = _throughput(port, seconds)
            with _running(way, folder, (port, blue, green)):
                rate = _throughput(port, seconds)
                times = _flips_ms(way, folder, (port, more), flips)
            results.append(
                Result(
                    way=way.name,
                    requests_per_s=round(rate),
                    share_of_static=round(rate / base, 2),
                    flip_ms_p50=round(statistics.median(times), 2),
                    flip_ms_p99=round(times[-(-99 * len(times) // 100) - 1], 2),
                )
            )
    return results


@click.command()
@click.option("--seconds", type=click.FloatRange(min=1), default=5.0, show_default=True)
@click.option("--flips", type=click.IntRange(min=2), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(seconds: float, flips: int, *, as_json: bool) -> None:
    """Measure the ways."""
    results = _measure(seconds, flips)
    if as_json:
        click.echo(json.dumps({"machine": machine(), "ways": [asdict(one) for one in results]}))
        return
    click.echo(machine())
    for one in results:
        click.echo(
            f"{one.way:8} {one.requests_per_s:>8,} requests/s, {one.share_of_static:.2f} of static; "
            f"flip {one.flip_ms_p50} ms p50, {one.flip_ms_p99} ms p99"
        )


if __name__ == "__main__":
    main()
