"""How nginx is set up: two listeners with the same rules, and one that the agent asks. Pure.

- The *live* listener serves users, the *staging* listener the next table, *admin* the agent; the last two
  are UNIX sockets in a folder that only its owner can enter. The first two differ in one word.
- One upstream has every backend: ``balancer_by_lua`` names the address. So backends come and go with the
  table, and nothing reloads.
- A try at another backend follows a failed connection, and a failure later only for methods that are
  idempotent (RFC 9110 section 9.2.2), which is nginx's own rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edge_agent.drivers.nginx.files import Files
from edge_agent.drivers.nginx.settings import NginxSettings
from edge_agent.drivers.slots import LIVE, STAGED

_COUNTS_MEMORY = "64m"
_HEADERS = "64k"
"""What the others take: a response's header, and a line of a request's."""

_ACCEL = ("Redirect", "Expires", "Limit-Rate", "Buffering", "Charset")
"""What nginx would do at a backend's word, instead of passing it on."""
_KEPT_CONNECTIONS = 256
MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")


def main_config(settings: NginxSettings, files: Files, *, is_root: bool, open_files: int) -> bytes:
    """Nginx's configuration of itself, where it is ours.

    ``is_root``: its workers are whoever the agent is, root too, for the folder is private.
    ``open_files``: how many each may have, connections of both kinds.
    """
    lines = [
        "# Written by Turnout, which owns this nginx: changes are overwritten.",
        *(f"load_module {settings.modules_dir / module};" for module in MODULES),
        *(("user root root;",) if is_root else ()),
        "daemon off;",
        f"pid {files.root / 'master.pid'};",
        f"error_log {files.log} warn;",
        f"worker_processes {settings.workers or 'auto'};",
        f"worker_rlimit_nofile {open_files};",
        f"events {{ worker_connections {open_files}; }}",
        "http {",
        *(
            f"  {kind}_temp_path {files.temporary / kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ),
        f"  include {files.http};",
        "}",
    ]
    return _text(lines)


def http_config(settings: NginxSettings, files: Files) -> bytes:
    """What goes into the ``http`` section of any nginx."""
    lines = [
        "# Written by Turnout: changes are overwritten.",
        f"lua_shared_dict turnout {settings.table_memory_mib}m;",
        f"lua_shared_dict turnout_counts {_COUNTS_MEMORY};",
        "init_by_lua_block {",
        '  require("resty.core")',
        f'  turnout = dofile("{files.lua}")',
        f'  turnout.boot("{files.tables}")',
        "  turnout_master = ngx.worker.pid()",
        "}",
        "init_worker_by_lua_block { turnout.begin(turnout_master) }",
        "map $http_upgrade $turnout_connection { default upgrade; '' ''; }",
        "upstream turnout {",
        "  server 127.0.0.1:1;",
        "  balancer_by_lua_block { turnout.balance() }",
        f"  keepalive {_KEPT_CONNECTIONS};",
        f"  keepalive_timeout {_seconds(settings.upstream_idle_timeout_s)};",
        "  keepalive_requests 1000000000;",
        "}",
        *_listener(LIVE, settings.listen, settings),
        *_listener(STAGED, f"unix:{files.staging_socket}", settings),
        "server {",
        f"  listen unix:{files.admin_socket};",
        "  access_log off;",
        "  client_max_body_size 0;",
        f"  client_body_buffer_size {settings.table_memory_mib}m;",
        "  location = /show { content_by_lua_block { turnout.show() } }",
        "  location = /load { content_by_lua_block { turnout.load() } }",
        "  location = /withdraw { content_by_lua_block { turnout.withdraw() } }",
        "  location = /turn { content_by_lua_block { turnout.turn() } }",
        "  location = /count { content_by_lua_block { turnout.count() } }",
        "}",
    ]
    return _text(lines)


def _listener(key: str, listen: str, settings: NginxSettings) -> Iterator[str]:
    idle = _seconds(settings.stream_idle_timeout_s)
    yield "server {"
    yield f"  listen {listen}{'' if listen.startswith('unix:') else ' backlog=4096'};"
    yield "  access_log off;"
    yield "  server_tokens off;"
    yield "  merge_slashes off;"
    yield "  client_max_body_size 0;"
    yield "  client_header_timeout 10s;"
    yield f"  client_body_timeout {idle};"
    yield f"  large_client_header_buffers 8 {_HEADERS};"
    yield "  ignore_invalid_headers off;"
    yield "  underscores_in_headers on;"
    yield f"  send_timeout {idle};"
    yield f"  keepalive_timeout {idle};"
    yield "  keepalive_requests 1000000000;"
    yield "  header_filter_by_lua_block { turnout.mark() }"
    yield "  log_by_lua_block { turnout.leave() }"
    yield "  location / {"
    yield f'    rewrite_by_lua_block {{ turnout.route("{key}") }}'
    yield "    proxy_pass http://turnout;"
    yield "    proxy_http_version 1.1;"
    yield "    proxy_set_header Host $http_host;"
    yield "    proxy_set_header Connection $turnout_connection;"
    yield "    proxy_set_header Upgrade $http_upgrade;"
    yield "    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    yield "    proxy_set_header X-Forwarded-Proto $scheme;"
    yield "    proxy_pass_header Server;"
    accel = [f"X-Accel-{word}" for word in _ACCEL]
    yield f"    proxy_ignore_headers {' '.join(accel)};"
    for header in accel:
        yield f"    proxy_pass_header {header};"
    yield f"    proxy_buffer_size {_HEADERS};"
    yield f"    proxy_buffers 8 {_HEADERS};"
    yield "    proxy_request_buffering off;"
    yield "    proxy_max_temp_file_size 0;"
    yield f"    proxy_connect_timeout {_seconds(settings.connect_timeout_s)};"
    yield f"    proxy_send_timeout {idle};"
    yield f"    proxy_read_timeout {idle};"
    yield "  }"
    yield "}"


def _seconds(value: float) -> str:
    return f"{round(value * 1000)}ms"


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
