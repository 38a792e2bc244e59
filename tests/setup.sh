#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Installs what the targets need: system packages where they are missing, then the locked Python environment.
# Usage: setup.sh VENV
set -euo pipefail
venv=$1

packages=(python3-venv git openssh-client debootstrap debian-archive-keyring gpgv docker.io iproute2 kmod curl procps rsync
    shellcheck zstd xz-utils wrk openvswitch-switch nftables ethtool)
missing=()
for name in "${packages[@]}"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
done
if ((${#missing[@]})); then
    if ! command -v apt-get >/dev/null; then
        echo "setup: this machine has no apt-get; wanted Debian 12 or 13, or Ubuntu 22.04 or 24.04" >&2
        exit 1
    fi
    if (($(id -u))); then
        echo "setup: missing packages: ${missing[*]}; run as root, or install them and run again" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update --quiet --quiet
    apt-get install --yes --quiet --quiet --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}" >/dev/null
fi

echo "setup: installing the Python environment into $venv"
# Half of an environment is worth nothing: the mark is set last, and without it all is made anew.
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --require-hashes --requirement requirements.lock
touch "$venv/.ready"
