# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a node and prints its processes, files and listening sockets as JSON. Uses only Python's standard library."""

import glob
import grp
import json
import os
import pwd

FILES = [
    "/etc/systemd/system/*.service",
    "/etc/systemd/system/*.service.d/*",
    "/etc/kubernetes/*",
    "/etc/kubernetes/pki/*",
    "/etc/etcd/*",
    "/etc/etcd/pki/*",
    "/etc/cni/net.d/*",
    "/etc/calico/*",
    "/etc/goodnet/*",
    "/etc/containerd/*",
    "/etc/containerd/certs.d/*/*",
    "/etc/haproxy/haproxy.cfg",
    "/etc/keepalived/keepalived.conf",
    "/etc/traefik/*",
    "/etc/cloudbang-registry/*",
    "/etc/cloudbang-registry/docker/*",
    "/etc/cloudbang-registry/pull/*",
    "/var/lib/etcd",
    "/var/lib/etcd/member",
    "/var/lib/etcd/member/wal",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/pki/*",
    "/var/lib/kube-proxy/config.yaml",
    "/var/lib/cni/networks/*",
    "/var/log/kubernetes",
    "/var/log/kubernetes/*",
    "/run/containerd/containerd.sock",
]


def read(path):
    with open(path) as stream:
        return stream.read()


def name(lookup, number):
    try:
        return lookup(number)[0]
    except KeyError:
        return str(number)


processes = []
for directory in glob.glob("/proc/[0-9]*"):
    try:
        with open(directory + "/cmdline", "rb") as stream:
            command = stream.read().decode(errors="replace").split("\0")[:-1]
        owner = name(pwd.getpwuid, os.stat(directory).st_uid)
        cgroup = read(directory + "/cgroup")
        status = dict(line.split(":", 1) for line in read(directory + "/status").splitlines() if ":" in line)
    except OSError:
        continue
    if command:
        processes.append(
            {
                "command": command,
                "owner": owner,
                "pod": "kubepods" in cgroup,
                "no_new_privileges": status.get("NoNewPrivs", "0").strip() == "1",
                "capabilities": int(status.get("CapEff", "0").strip(), 16),
                "seccomp": int(status.get("Seccomp", "0").strip()),
            }
        )

files = {}
for pattern in FILES:
    for path in glob.glob(pattern):
        if os.path.islink(path) and path.startswith("/etc/systemd"):
            continue
        about = os.stat(path)
        files[path] = {
            "mode": about.st_mode & 0o7777,
            "owner": name(pwd.getpwuid, about.st_uid) + ":" + name(grp.getgrgid, about.st_gid),
            "directory": os.path.isdir(path),
        }

listening = []
for family in ("tcp", "tcp6"):
    for line in read("/proc/net/" + family).splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A":
            address, port = fields[1].split(":")
            if family == "tcp":
                address = ".".join(str(part) for part in reversed(bytes.fromhex(address)))
            else:
                address = "::" if set(address) == {"0"} else address
            listening.append([address, int(port, 16)])

texts = {}
for path in (
    "/etc/containerd/config.toml",
    "/var/lib/kube-proxy/config.yaml",
    "/etc/kubernetes/encryption.yaml",
    "/etc/kubernetes/authentication.yaml",
    "/etc/etcd/bootstrap.env",
):
    if os.path.exists(path):
        texts[path] = read(path)

print(json.dumps({"processes": processes, "files": files, "listening": listening, "texts": texts}))
