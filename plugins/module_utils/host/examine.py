# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers the facts of a host for preflight. Uses only Python's standard library, and changes nothing on the host."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import platform
import re
import selectors
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LISTEN = "0A"
UDP_BOUND = "07"
COMMAND_SECONDS = 5
VERSION = re.compile(r"v?(\d+\.\d+\.\d+\S*)")
# Kernel feature -> its module and its build option.
FEATURES = {
    "br_netfilter": "CONFIG_BRIDGE_NETFILTER",
    "overlay": "CONFIG_OVERLAY_FS",
    "vxlan": "CONFIG_VXLAN",
    "nf_tables": "CONFIG_NF_TABLES",
    "nf_conntrack": "CONFIG_NF_CONNTRACK",
    "ip_set": "CONFIG_IP_SET",
    "openvswitch": "CONFIG_OPENVSWITCH",
    "tun": "CONFIG_TUN",
}
# Authorities that an installed host trusts, by their names on the controller.
AUTHORITIES = {"kubernetes-ca": "/etc/kubernetes/pki/ca.crt", "etcd-ca": "/etc/etcd/pki/ca.crt"}
VERSIONED = {"kubelet": "--version", "kube-apiserver": "--version", "etcd": "--version"}
# What the platform's own roles recorded.
RECORD = "/var/lib/cloudbang/installed.json"
FIREWALLD = "firewalld.service"
# A lost TCP packet is sent again after a second; a closed UDP port answers at once, an open one not at all.
PROBE_SECONDS = {"tcp": 2.5, "udp": 0.5}
VIP_SECONDS = 0.4
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
UDP_HEADERS = 28


def text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def command(*words: str, seconds: float = COMMAND_SECONDS) -> str:
    """Return the output of a program, nothing when it is missing, fails or takes too long."""
    program = shutil.which(words[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/bin")
    if program is None:
        return ""
    try:
        done = subprocess.run([program, *words[1:]], capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def operating_system() -> dict[str, Any]:
    pairs = {}
    for line in (text("/etc/os-release") or text("/usr/lib/os-release")).splitlines():
        key, separator, value = line.partition("=")
        if separator:
            pairs[key] = value.strip().strip("\"'")
    return {
        "id": pairs.get("ID", ""),
        "version": pairs.get("VERSION_ID", ""),
        "name": pairs.get("PRETTY_NAME", ""),
        "like": pairs.get("ID_LIKE", "").split(),
    }


def memory() -> int:
    match = re.search(r"^MemTotal:\s+(\d+) kB", text("/proc/meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 0


def existing(path: str) -> str:
    """Return a path, or the closest directory above it that is there."""
    while path and not os.path.exists(path):
        path = os.path.dirname(path)
    return path or "/"


def disks(paths: Iterable[str]) -> dict[str, dict[str, int]]:
    result = {}
    for path in paths:
        place = existing(path)
        try:
            room = os.statvfs(place)
            device = os.stat(place).st_dev
        except OSError:
            continue
        result[path] = {
            "free": room.f_bavail * room.f_frsize,
            "total": room.f_blocks * room.f_frsize,
            "inodes": room.f_files,
            "inodes_free": room.f_favail,
            "device": device,
        }
    return result


def swaps() -> list[str]:
    return [line.split()[0] for line in text("/proc/swaps").splitlines()[1:] if line.strip()]


def swaps_at_boot() -> list[str]:
    """Return what /etc/fstab switches on as swap at the next boot."""
    lines = [line.split() for line in text("/etc/fstab").splitlines() if not line.lstrip().startswith("#")]
    return [
        words[0] for words in lines if len(words) > 2 and words[2] == "swap" and "noauto" not in ",".join(words[3:4])
    ]


def other_services(units: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return path, ``active`` and ``enabled`` of each of the units, and of firewalld, that somebody else installed."""
    try:
        ours = json.loads(text(RECORD) or "{}")
    except ValueError:
        ours = {}
    properties = "--property=Id,LoadState,FragmentPath,ActiveState,UnitFileState"
    found = {}
    for block in command("systemctl", "show", properties, *units, FIREWALLD).split("\n\n"):
        one = dict(line.partition("=")[::2] for line in block.splitlines())
        if one.get("LoadState") == "loaded" and one.get("FragmentPath") not in ours:
            found[one["Id"]] = {
                "path": one.get("FragmentPath", ""),
                "active": one.get("ActiveState", ""),
                "enabled": one.get("UnitFileState", ""),
            }
    return found


def packet_filters(services: dict[str, dict[str, str]]) -> list[str]:
    """Return the programs that manage the host's packet filter. The unit of ufw is active when ufw is not."""
    ufw = re.search(r"^ENABLED=[\"']?yes", text("/etc/ufw/ufw.conf"), re.MULTILINE | re.IGNORECASE)
    firewalld = services.get(FIREWALLD, {})
    active = firewalld.get("active") == "active" or firewalld.get("enabled") == "enabled"
    return [name for name, here in (("ufw", ufw), ("firewalld", active)) if here]


def socket_address(word: str) -> tuple[str, int]:
    """Return address and port of a field of /proc/net/tcp: hexadecimal words in the machine's byte order."""
    address, port = word.split(":")
    words = [struct.pack("=I", int(address[place : place + 8], 16)) for place in range(0, len(address), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words)), int(port, 16)


def listeners() -> list[dict[str, Any]]:
    """Return ``{protocol, address, port, process}`` of every socket that waits for others."""
    found: list[tuple[str, str, int, str]] = []
    for name, protocol, state in (
        ("tcp", "tcp", LISTEN),
        ("tcp6", "tcp", LISTEN),
        ("udp", "udp", UDP_BOUND),
        ("udp6", "udp", UDP_BOUND),
    ):
        for line in text(f"/proc/net/{name}").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == state:
                address, port = socket_address(fields[1])
                found.append((protocol, address, port, fields[9]))
    owners = socket_owners({inode for _protocol, _address, _port, inode in found})
    return [
        {"protocol": protocol, "address": address, "port": port, "process": owners.get(inode, "")}
        for protocol, address, port, inode in found
    ]


def socket_owners(wanted: set[str]) -> dict[str, str]:
    """Return the process name by inode for the sockets that are wanted."""
    owners: dict[str, str] = {}
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            for handle in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{handle}")
                if target.startswith("socket:[") and target[8:-1] in wanted:
                    owners.setdefault(target[8:-1], text(f"/proc/{pid}/comm").strip())
        except OSError:
            continue
    return owners


def interfaces() -> dict[str, dict[str, Any]]:
    """Return MTU and addresses with prefix by interface."""
    result: dict[str, dict[str, Any]] = {}
    try:
        links = json.loads(command("ip", "-json", "address", "show") or "[]")
    except ValueError:
        links = []
    for link in links:
        name = link.get("ifname")
        if name:
            result[name] = {
                "mtu": link.get("mtu", 0),
                "addresses": [
                    f"{one['local']}/{one['prefixlen']}" for one in link.get("addr_info", []) if one.get("local")
                ],
            }
    return result


def default_route() -> str:
    """Return the interface of the default route, nothing when there is none."""
    for line in text("/proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == "00000000" and fields[7] == "00000000":
            return fields[0]
    for line in text("/proc/net/ipv6_route").splitlines():
        fields = line.split()
        if len(fields) > 9 and fields[0] == "0" * 32 and fields[1] == "00" and fields[9] != "lo":
            return fields[9]
    return ""


def resolv() -> dict[str, list[str]]:
    servers, search = [], []
    for line in text("/etc/resolv.conf").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            servers.append(words[1])
        elif len(words) > 1 and words[0] in ("search", "domain"):
            search = words[1:]
    return {"nameservers": servers, "search": search}


def built_options(release: str) -> dict[str, bool]:
    """Return the known build options of the kernel: true for built in or module, false for absent."""
    try:
        with gzip.open("/proc/config.gz", "rt", encoding="utf-8") as stream:
            lines = stream.read()
    except OSError:
        lines = text(f"/boot/config-{release}")
    if not lines:
        return {}
    here = set(re.findall(r"^(CONFIG_\w+)=[ym]$", lines, re.MULTILINE))
    return {option: option in here for option in FEATURES.values()}


def features() -> dict[str, bool | None]:
    """Return for each kernel feature whether it can be used; None when unknown."""
    release = platform.release()
    loaded = {line.split()[0] for line in text("/proc/modules").splitlines() if line.strip()}
    base = next((one for one in (f"/lib/modules/{release}", f"/usr/lib/modules/{release}") if os.path.isdir(one)), "")
    listed = {
        re.sub(r"\.ko(\.\w+)?$", "", os.path.basename(line.split(":")[0].strip())).replace("-", "_")
        for name in ("modules.dep", "modules.builtin")
        for line in (text(f"{base}/{name}").splitlines() if base else ())
    }
    systems = text("/proc/filesystems").split()
    options = built_options(release)
    result: dict[str, bool | None] = {}
    for name, option in FEATURES.items():
        if name in loaded or name in listed or name in systems or os.path.isdir(f"/sys/module/{name}"):
            result[name] = True
        elif options:
            # An option that the kernel was built with may still lack its module file.
            result[name] = options[option] and (not base or option_is_builtin(release, option))
        else:
            result[name] = False if listed else None
    return result


def option_is_builtin(release: str, option: str) -> bool:
    try:
        with gzip.open("/proc/config.gz", "rt", encoding="utf-8") as stream:
            lines = stream.read()
    except OSError:
        lines = text(f"/boot/config-{release}")
    return f"\n{option}=y\n" in f"\n{lines}\n"


def cgroup() -> int:
    """Return the version of the cgroup hierarchy that manages resources, 0 without one."""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return 2
    return 1 if os.path.isdir("/sys/fs/cgroup/memory") or os.path.isdir("/sys/fs/cgroup/systemd") else 0


def flagged(paths: Iterable[str], flag: int) -> list[str]:
    result = []
    for path in paths:
        try:
            if os.statvfs(existing(path)).f_flag & flag:
                result.append(path)
        except OSError:
            continue
    return result


def selinux() -> str:
    state = text("/sys/fs/selinux/enforce").strip()
    return {"1": "enforcing", "0": "permissive"}.get(state, "disabled")


def proxies() -> dict[str, str]:
    """Return the proxy variables without the credentials that may be in them.

    Of those in /etc/environment, too: not every login reads it, but those of the host's users do.
    """
    lines = re.findall(r"^\s*(?:export\s+)?(\w+)=[\"']?(.*?)[\"']?\s*$", text("/etc/environment"), re.MULTILINE)
    given = {**dict(lines), **os.environ}
    result = {}
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        value = given.get(name) or given.get(name.upper())
        if value:
            result[name] = re.sub(r"//[^/@]*@", "//***@", value)
    return result


def versions(units: Iterable[str]) -> dict[str, str]:
    """Return the versions of the programs whose units are installed."""
    result = {}
    for name, option in VERSIONED.items():
        if f"{name}.service" in units:
            match = VERSION.search(command(name, option))
            if match:
                result[name] = match[1]
    return result


def installed(units: Mapping[str, str]) -> list[str]:
    """Return the units of the platform: those in /etc, or those with the file that marks them as the platform's."""
    return sorted(name for name, mark in units.items() if os.path.exists(mark or f"/etc/systemd/system/{name}"))


def authorities() -> dict[str, str]:
    """Return the SHA-256 fingerprint of each authority that this host trusts already."""
    found = {}
    for name, path in AUTHORITIES.items():
        try:
            found[name] = hashlib.sha256(ssl.PEM_cert_to_DER_cert(text(path).strip())).hexdigest()
        except ValueError:
            continue
    return found


def network() -> dict[str, str]:
    """Return which network an installed host is in, and what GoodNet runs with there."""
    settings = text("/etc/goodnet/agent.yaml")
    if settings:
        found = re.findall(r"^(encapsulation|cluster_cidr|service_cidr):\s+(\S+)\s*$", settings, re.MULTILINE)
        return {"name": "goodnet", **dict(found)}
    return {"name": "calico"} if os.path.exists("/etc/cni/net.d/10-calico.conflist") else {}


def ssh_address() -> str:
    """Return the address of this host that Ansible connected to, nothing when it is unknown.

    sudo takes it out of the environment, but not out of that of the processes above.
    """
    process = os.getpid()
    while process > 1:
        try:
            with open(f"/proc/{process}/environ", "rb") as stream:
                found = re.search(rb"(?:^|\0)SSH_CONNECTION=\S+ \S+ ([^ \0]+)", stream.read())
            if found:
                return found[1].decode()
            with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as stream:
                process = int(stream.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return ""


def packages_unknown(names: Sequence[str]) -> list[str]:
    """Return the packages that are neither installed nor known to apt, if apt knows any others."""
    if not names:
        return []
    shown = command("dpkg-query", "-W", "-f=${db:Status-Status} ${Package}\\n")
    missing = [name for name in names if f"installed {name}\n" not in shown]
    if not missing:
        return []
    # Where apt keeps no cache, as in containers, it reads all its lists for this.
    candidates = command("apt-cache", "policy", "apt", *missing, seconds=60)
    known = {
        name
        for name, found in re.findall(r"^(\S+):\n.*\n  Candidate: (\S+)$", candidates, re.MULTILINE)
        if found != "(none)"
    }
    # An empty list, or one of installed packages only, has no information about others.
    listed = (
        any(one.endswith("_Packages") or "_Packages." in one for one in os.listdir("/var/lib/apt/lists"))
        if os.path.isdir("/var/lib/apt/lists")
        else False
    )
    return [name for name in missing if name not in known] if listed and candidates else []


def fsync_seconds(path: str, times: int = 5) -> float | None:
    """Return the longest of a few synchronous writes where a directory is, without leaving anything behind."""
    try:
        longest = 0.0
        with tempfile.TemporaryFile(dir=existing(path)) as stream:
            for _attempt in range(times):
                stream.write(b"\0" * 2048)
                stream.flush()
                start = time.monotonic()
                os.fdatasync(stream.fileno())
                longest = max(longest, time.monotonic() - start)
        return longest
    except OSError:
        return None


def connect(address: str, port: int, protocol: str, size: int) -> socket.socket | str:
    """Return a socket on its way, or the result when it is there already."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    way = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    way.setblocking(False)
    try:
        if protocol == "tcp":
            code = way.connect_ex((address, port))
            if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
                return way
            way.close()
            return outcome(code)
        if family == socket.AF_INET and size:
            way.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        way.connect((address, port))
        way.send(b"\0" * max(size - UDP_HEADERS, 0))
        return way
    except OSError as error:
        way.close()
        return outcome(error.errno or 0)


def outcome(code: int) -> str:
    """Return ``open``, ``refused`` (the host answers), ``unreachable`` or ``mtu`` for the error of a connection."""
    if code == 0:
        return "open"
    if code in (errno.ECONNREFUSED, errno.ECONNRESET):
        return "refused"
    if code == errno.EMSGSIZE:
        return "mtu"
    return "unreachable"


def probe(targets: Sequence[tuple[str, int, str, int]], seconds: dict[str, float]) -> list[str]:
    """Try all targets ``(address, port, protocol, packet size)`` at once; return one result each.

    ``open``, ``refused``, ``timeout``, ``unreachable`` or ``mtu``; ``seconds`` is how long to wait by protocol. No data
    is sent over TCP, an empty or zero-filled datagram over UDP: a closed port answers with an error.
    """
    results = ["timeout"] * len(targets)
    start = time.monotonic()
    with selectors.DefaultSelector() as waiting:
        for number, target in enumerate(targets):
            started = connect(*target)
            if isinstance(started, str):
                results[number] = started
                continue
            events = selectors.EVENT_WRITE if target[2] == "tcp" else selectors.EVENT_READ
            waiting.register(started, events, number)
        while waiting.get_map():
            now = time.monotonic()
            left = []
            for key in list(waiting.get_map().values()):
                rest = start + seconds[targets[key.data][2]] - now
                if rest > 0:
                    left.append(rest)
                else:
                    finish(waiting, key)
            for key, _events in waiting.select(min(left)) if left else []:
                way = key.fileobj
                if isinstance(way, socket.socket):
                    results[key.data] = outcome(way.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                finish(waiting, key)
    return results


def finish(waiting: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    waiting.unregister(key.fileobj)
    if isinstance(key.fileobj, socket.socket):
        key.fileobj.close()


def probe_peers(peers: Sequence[Sequence[Any]], mtu: int) -> list[str]:
    """Return the result for each ``[name, address, port, protocol]``; UDP is tried with small and with full packets."""
    targets = [(str(one[1]), int(one[2]), str(one[3]), size) for one in peers for size in sizes(str(one[3]), mtu)]
    results = iter(probe(targets, PROBE_SECONDS))
    merged = []
    for one in peers:
        small, *large = [next(results) for _size in sizes(str(one[3]), mtu)]
        merged.append("mtu" if small in ("open", "refused") and large and large[0] in ("mtu", "timeout") else small)
    return merged


def sizes(protocol: str, mtu: int) -> tuple[int, ...]:
    return (0, mtu) if protocol == "udp" and mtu else (0,)


def neighbour(address: str) -> bool:
    """Return whether a host has just answered ARP for an address; old entries of the cache do not count."""
    return "REACHABLE" in command("ip", "neighbour", "show", "to", address)


def ask_address(address: str, port: int, mine: Iterable[str]) -> dict[str, str]:
    """Return the host that answers at the virtual IP: ``{address, answers}``, with ``answers`` empty for none."""
    if address in mine:
        return {"address": address, "answers": "held by this host"}
    result = probe([(address, port, "tcp", 0)], {"tcp": VIP_SECONDS})[0]
    if result in ("open", "refused"):
        return {"address": address, "answers": f"TCP port {port} is {'open' if result == 'open' else 'closed'}"}
    return {"address": address, "answers": "ARP" if neighbour(address) else ""}


def examine(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return everything about this host.

    ``wanted``: ``disks`` paths to measure, ``units`` to look for, each with the file that
    tells that it is ours, empty for its own, ``others`` units to look for that another installer brings, ``probes``
    lists of peer, address, port, protocol, ``packages`` that are to be had, ``address`` the node's own, ``vip`` and
    ``vip_port`` what should be free, ``fsync`` a directory.
    """
    links = interfaces()
    units = installed(wanted.get("units") or {})
    mine = {address.split("/")[0] for one in links.values() for address in one["addresses"]}
    probes = [one for one in wanted.get("probes") or [] if one[1] not in mine]
    own = str(wanted.get("address") or "")
    mtus = [one["mtu"] for one in links.values() if own in {address.split("/")[0] for address in one["addresses"]}]
    results = probe_peers(probes, min(mtus) if mtus else 0)
    vip = str(wanted.get("vip") or "")
    services = other_services(wanted.get("others") or [])
    return {
        "reached": True,
        "os": operating_system(),
        "arch": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "python_path": sys.executable,
        "cores": cores(),
        "memory": memory(),
        "disks": disks(wanted.get("disks") or []),
        "swaps": swaps(),
        "swaps_at_boot": swaps_at_boot(),
        "other_services": services,
        "packet_filters": packet_filters(services),
        "listeners": listeners(),
        "interfaces": links,
        "default_route": default_route(),
        "hostname": socket.gethostname(),
        "machine_id": text("/etc/machine-id").strip(),
        "resolv": resolv(),
        "features": features(),
        "cgroup": cgroup(),
        "noexec": flagged(["/tmp", "/var/lib", "/usr/local/bin"], os.ST_NOEXEC),
        "read_only": flagged(["/etc", "/var/lib", "/usr/local/bin", "/opt"], os.ST_RDONLY),
        "selinux": selinux(),
        "uid": os.geteuid(),
        "proxies": proxies(),
        "units": units,
        "versions": versions(units),
        "authorities": authorities(),
        "network": network(),
        "ssh_address": ssh_address(),
        "packages_unknown": packages_unknown(wanted.get("packages") or []),
        "fsync": fsync_seconds(wanted["fsync"]) if wanted.get("fsync") else None,
        "probes": [[*one[:4], result] for one, result in zip(probes, results)],
        "vip": ask_address(vip, int(wanted.get("vip_port") or 6443), mine) if vip else {},
        "time": time.time(),
    }
