# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of each host: its system, its resources, and identities that must be unique."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .checks_ports import members
from .inventory import WARNING, HostFinding, Inventory, check

SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04")}
MIB = 1024 * 1024
GIB = 1024 * MIB
MIN_PYTHON = (3, 9)
MIN_KERNEL = (5, 10)
MIN_INODES = 100_000
FEATURES = {
    "all": ("overlay", "br_netfilter", "nf_tables", "nf_conntrack"),
    "calico": ("ip_set",),
    "goodnet": (),
}
REPLACED = ("containerd.service", "kubelet.service")
# Name of the software, its units, and the next step.
OTHERS = (
    (
        "container runtime",
        ("containerd.service", "crio.service", "docker.service"),
        "take another machine, or give up its containers: apt-get purge docker.io docker-ce containerd containerd.io "
        "cri-o",
    ),
    (
        "Kubernetes",
        (
            "k0scontroller.service",
            "k0sworker.service",
            "k3s-agent.service",
            "k3s.service",
            "kubelet.service",
            "rke2-agent.service",
            "rke2-server.service",
            "snap.microk8s.daemon-kubelite.service",
        ),
        "take another machine, or remove that cluster's node as its installer does, such as with kubeadm reset or "
        "k3s-uninstall.sh",
    ),
)
FILTERS = {"ufw": "ufw disable", "firewalld": "systemctl disable --now firewalld"}
# Messages of Ansible and ssh, and the next step.
LOGIN_HINTS = {
    "permission denied (": "check ansible_user and its key; for a password run with --ask-pass, "
    "and see that ssh_args in ansible.cfg allows it",
    "sudo password": "run with --ask-become-pass, or allow sudo without password",
    "password is required": "run with --ask-become-pass, or allow sudo without password",
    "not in the sudoers file": "log in as root, or allow this user sudo",
    "host key verification failed": "compare the host's key and add it to ~/.ssh/known_hosts",
    "could not resolve": "set ansible_host to its address",
    "connection refused": "check ansible_port, and that sshd runs",
    "timed out": "check the address, and firewalls on the way",
}


def login_hint(reason: str) -> str:
    """Return what to do about a host that could not be reached, nothing when the reason is not a known one."""
    return next((hint for text, hint in LOGIN_HINTS.items() if text in reason.lower()), "")


@check("hosts")
def reached(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.nodes:
        facts = inventory.facts.get(host)
        if facts is not None and not facts.get("reached"):
            name = (
                "cloudbang_node_address" if "ansible_host" not in inventory.variables.get(host, {}) else "ansible_host"
            )
            found = str(inventory.get(host, name, host))
            yield HostFinding(
                host,
                "unreachable",
                name,
                f"{found}: {facts.get('reason', 'no answer')}",
                "a host that Ansible can log in to and become root on",
                login_hint(str(facts.get("reason", ""))),
            )


@check("hosts")
def root(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        uid = inventory.facts[host].get("uid", 0)
        if uid != 0:
            yield HostFinding(
                host,
                "root",
                "ansible_become",
                f"user id {uid}",
                "0 (root)",
                "log in as root, or allow sudo and set ansible_become",
            )


@check("hosts")
def operating_system(inventory: Inventory) -> Iterator[HostFinding]:
    wanted = ", ".join(f"{name} {'/'.join(versions)}" for name, versions in SUPPORTED.items())
    for host in inventory.examined:
        system = inventory.facts[host].get("os", {})
        name, version = str(system.get("id", "unknown")), str(system.get("version", ""))
        if version in SUPPORTED.get(name, ()):
            continue
        near = name in SUPPORTED or bool(set(system.get("like", ())) & set(SUPPORTED))
        yield HostFinding(
            host,
            "os",
            "os-release",
            f"{name} {version}".strip(),
            wanted,
            "not tested with it" if near else "",
            WARNING if near else "error",
        )


@check("hosts")
def python(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        version = str(inventory.facts[host].get("python", "3.9"))
        if tuple(int(part) for part in version.split(".")[:2]) < MIN_PYTHON:
            yield HostFinding(host, "python", "ansible_python_interpreter", version, "Python 3.9 or newer")


@check("hosts")
def kernel(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        version = str(inventory.facts[host].get("kernel", ""))
        parts = version.split("-", maxsplit=1)[0].split(".")
        if len(parts) > 1 and parts[0].isdigit() and parts[1].isdigit() and (int(parts[0]), int(parts[1])) < MIN_KERNEL:
            yield HostFinding(host, "kernel", "kernel", version, f"{MIN_KERNEL[0]}.{MIN_KERNEL[1]} or newer")


@check("hosts")
def cores(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        name = "preflight_min_management_cores" if inventory.member(host, "management") else "preflight_min_cores"
        found, wanted = int(inventory.facts[host].get("cores", 0)), inventory.number(host, name, 1)
        if found < wanted:
            yield HostFinding(host, "cores", "cores", str(found), f"{wanted} or more", f"{name} is the floor")


@check("hosts")
def memory(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        name = "preflight_min_management_memory" if inventory.member(host, "management") else "preflight_min_memory"
        found, wanted = int(inventory.facts[host].get("memory", 0)) // MIB, inventory.number(host, name, 1)
        if found < wanted:
            yield HostFinding(host, "memory", "memory", f"{found} MiB", f"{wanted} MiB or more", f"{name} is the floor")


@check("hosts")
def disk(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        wanted = inventory.number(host, "preflight_min_disk", 0)
        seen: set[object] = set()
        for path, one in inventory.facts[host].get("disks", {}).items():
            if one.get("device") in seen:
                continue
            seen.add(one.get("device"))
            free = int(one.get("free", 0)) // GIB
            # Resources that an installed platform uses are not missing.
            if free < wanted and not inventory.facts[host].get("units"):
                yield HostFinding(
                    host, "disk", path, f"{free} GiB free", f"{wanted} GiB or more", "preflight_min_disk is the floor"
                )
            elif int(one.get("free", 1)) == 0:
                yield HostFinding(host, "disk", path, "a full file system", "free space")
            inodes = one.get("inodes_free")
            if inodes is not None and inodes < MIN_INODES and one.get("inodes"):
                yield HostFinding(host, "inodes", path, f"{inodes} free inodes", f"{MIN_INODES} or more")


@check("hosts")
def file_systems(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        for path in inventory.facts[host].get("noexec", []):
            hint = "set ansible_remote_tmp to another directory" if path == "/tmp" else ""
            yield HostFinding(
                host, "noexec", path, "mounted noexec", "mounted exec", hint, WARNING if path == "/tmp" else "error"
            )
        for path in inventory.facts[host].get("read_only", []):
            yield HostFinding(host, "read_only", path, "read-only", "writable")


@check("hosts")
def etcd_disk(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        seconds = inventory.facts[host].get("fsync")
        limit = inventory.number(host, "preflight_max_fsync", 10)
        if host in inventory.etcd and seconds is not None and seconds * 1000 > limit:
            yield HostFinding(
                host,
                "fsync",
                str(inventory.get(host, "etcd_data_dir", "/var/lib/etcd")),
                f"{seconds * 1000:.0f} ms for a synchronous write",
                f"{limit} ms or less",
                "etcd on a slow disk loses its leader under load",
                WARNING,
            )


@check("hosts")
def swap(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        swaps, later = (inventory.facts[host].get(name, []) for name in ("swaps", "swaps_at_boot"))
        extra = inventory.get(host, "kube_node_kubelet_extra", {})
        allowed = isinstance(extra, Mapping) and extra.get("failSwapOn") is False
        if swaps and not allowed and inventory.member(host, "management", "compute", "loadbalancer"):
            yield HostFinding(
                host, "swap", "/proc/swaps", ", ".join(swaps), "no swap", "swapoff --all, and remove it from /etc/fstab"
            )
        elif later and not allowed and inventory.member(host, "management", "compute", "loadbalancer"):
            hint = "remove it there, or kubelet does not start after the next boot"
            yield HostFinding(host, "swap", "/etc/fstab", ", ".join(later), "no swap", hint)


def installed(inventory: Inventory, host: str) -> bool:
    """Return whether the platform runs on a host; conditions that it already runs with are only warnings."""
    return bool(inventory.facts[host].get("units"))


@check("hosts")
def other_installations(inventory: Inventory) -> Iterator[HostFinding]:
    """The platform brings a containerd and a kubelet; those of others would be replaced, or use the same sockets."""
    for host in inventory.examined:
        if not inventory.member(host, "management", "compute", "loadbalancer"):
            continue
        services = inventory.facts[host].get("other_services", {})
        for variable, names, hint in OTHERS:
            here = [
                f"{unit} ({one.get('active')}, {one.get('path')})"
                for unit, one in services.items()
                if unit in names
                # A unit of the same name would be replaced, also one that does not run.
                and (unit in REPLACED or one.get("active") == "active" or one.get("enabled") == "enabled")
            ]
            if here:
                severity = WARNING if installed(inventory, host) else "error"
                found, wanted = ", ".join(here), "none but the platform's"
                yield HostFinding(host, "runtime", variable, found, wanted, hint, severity)


@check("hosts")
def packet_filters(inventory: Inventory) -> Iterator[HostFinding]:
    """ufw and firewalld drop unknown traffic: that of pods, VXLAN, VRRP, and ports between the hosts."""
    for host in inventory.examined:
        for name in inventory.facts[host].get("packet_filters", []):
            yield HostFinding(
                host,
                "firewall",
                name,
                "active",
                "not active",
                f"{FILTERS.get(name, f'stop {name}')}: the platform filters what concerns it, and other rules belong "
                "into nftables tables of their own; with rules that let the platform through, preflight_ignore: "
                "[firewall]",
                WARNING if installed(inventory, host) else "error",
            )


@check("hosts")
def cgroups(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        version = inventory.facts[host].get("cgroup")
        extra = inventory.get(host, "kube_node_kubelet_extra", {})
        allowed = isinstance(extra, Mapping) and extra.get("failCgroupV1") is False
        if version == 0:
            yield HostFinding(host, "cgroup", "/sys/fs/cgroup", "no cgroups", "cgroup v2")
        elif version == 1 and not allowed and inventory.member(host, "management", "compute", "loadbalancer"):
            yield HostFinding(
                host,
                "cgroup",
                "/sys/fs/cgroup",
                "cgroup v1",
                "cgroup v2",
                "the kubelet refuses v1 unless kube_node_kubelet_extra has failCgroupV1: false",
            )


@check("hosts")
def selinux(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        if inventory.facts[host].get("selinux") == "enforcing":
            yield HostFinding(
                host, "selinux", "SELinux", "enforcing", "permissive or disabled", "the platform brings no policy"
            )


@check("hosts")
def kernel_features(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        features = inventory.facts[host].get("features", {})
        network = str(inventory.get(host, "cloudbang_network", "calico"))
        needed = [*FEATURES["all"], *FEATURES.get(network, ())]
        if network == "calico" and inventory.get(host, "calico_vxlan", "Always") != "Never":
            needed.append("vxlan")
        if not inventory.member(host, "management", "compute", "loadbalancer"):
            continue
        for name in needed:
            # None: the kernel does not tell, as in a container without /lib/modules.
            if features.get(name) is False:
                yield HostFinding(
                    host,
                    "kernel_feature",
                    name,
                    "not in this kernel",
                    f"the kernel feature {name}",
                    f"cloudbang_network {network} needs it",
                )


@check("hosts")
def clock(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        skew = float(inventory.facts[host].get("skew", 0.0))
        limit = inventory.number(host, "preflight_max_clock_skew", 30)
        if abs(skew) > limit:
            yield HostFinding(
                host,
                "clock",
                "clock",
                f"{abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}",
                f"at most {limit} s from the controller's",
                "certificates would not be valid yet, or not any more",
            )


@check("hosts")
def system_names_differ(inventory: Inventory) -> Iterator[HostFinding]:
    for fact, name, hint in (
        ("machine_id", "/etc/machine-id", "clones keep it: remove the file and run systemd-machine-id-setup"),
        ("hostname", "hostname", "hostnamectl set-hostname"),
    ):
        owner: dict[str, str] = {}
        for host in inventory.examined:
            value = str(inventory.facts[host].get(fact, ""))
            if not value:
                continue
            if value in owner:
                yield HostFinding(
                    host, f"duplicate_{fact}", name, value, "one of its own", f"{owner[value]} has the same; {hint}"
                )
            owner.setdefault(value, host)


@check("hosts")
def machine_id(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        if not inventory.facts[host].get("machine_id", "?"):
            yield HostFinding(
                host, "machine_id", "/etc/machine-id", "nothing", "32 hexadecimal digits", "systemd-machine-id-setup"
            )


@check("hosts")
def system_name(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        name = str(inventory.facts[host].get("hostname", host))
        if name == "localhost" or name.startswith("localhost."):
            yield HostFinding(host, "hostname", "hostname", name, "the machine's own name", "hostnamectl set-hostname")
        elif name != name.lower() or "_" in name or len(name) > 63:
            yield HostFinding(
                host,
                "hostname",
                "hostname",
                name,
                "lower-case letters, digits, '-' and '.', 63 at most",
                severity=WARNING,
            )


def package_variables(inventory: Inventory) -> dict[str, dict[str, list[str]]]:
    """Return by host the variables with the packages of the roles that run there, and the packages in each."""
    found: dict[str, dict[str, list[str]]] = {host: {} for host in inventory.nodes}
    for one in (one for role in inventory.chosen for one in role.packages if inventory.part_of(one.when)):
        for host in members(inventory, one.groups):
            value = inventory.get(host, one.variable)
            found[host][one.variable] = [str(name) for name in value] if isinstance(value, list) else []
    return found


@check("hosts")
def packages(inventory: Inventory) -> Iterator[HostFinding]:
    wanted = package_variables(inventory)
    for host in inventory.examined:
        unknown = inventory.facts[host].get("packages_unknown", [])
        for variable, names in wanted[host].items():
            if missing := [name for name in unknown if name in names]:
                yield HostFinding(
                    host,
                    "package",
                    variable,
                    f"{', '.join(missing)}: not installed, and apt has no such package",
                    "packages that apt can install",
                    "run apt-get update, or add the distribution's section (universe) to its sources",
                )
