# SPDX-License-Identifier: GPL-3.0-or-later
"""What the installation says about this host: /etc/goodnet/agent.yaml, checked as a whole."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import yaml

from goodnet.model import MAX_VNI, Ports

ENCAPSULATIONS = ("vxlan", "gre")
DATAPATHS = ("system", "netdev")
# What a packet grows by: outer IPv4 header, UDP and VXLAN or GRE with key, and the inner Ethernet header.
OVERHEAD = {"vxlan": 50, "gre": 42}
# Below this, programs in pods break in ways that nobody can explain.
MIN_MTU = 1280
MAX_MTU = 9216
_INTERFACE_LENGTH = 15


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with the file: where it is, what was found there and what is wanted."""

    where: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}, wanted {self.wanted}"


class ConfigError(Exception):
    """The file is not usable. problems: all that is wrong with it."""

    def __init__(self, path: str, findings: list[Finding]) -> None:
        self.path = path
        self.findings = findings
        lines = "".join(f"\n  {finding}" for finding in findings)
        super().__init__(
            f"{path} is not usable, {len(findings)} problems; correct it and restart goodnet-agent:{lines}"
        )


@dataclass(frozen=True)
class Provider:
    """The network outside of the cluster in which tenants have addresses, and this host's interface in it."""

    interface: str
    network: IPv4Network
    router: IPv4Address


@dataclass(frozen=True)
class Settings:
    """The content of agent.yaml. mtu: of the pods' interfaces, None to derive it from the underlay's.

    edges: names of the hosts that carry external addresses. manager: this host gives numbers to tenants.
    host_addresses: those of the cluster's machines, of which pods reach host_ports only. hosts: the address of each
    machine by its name, which no other Node gets. routed_networks: those whose machines reach Services by way of this
    host.
    """

    node: str
    kubeconfig: Path
    encapsulation: str
    datapath: str
    cluster_cidr: IPv4Network
    service_cidr: IPv4Network
    node_networks: tuple[IPv4Network, ...]
    mtu: int | None
    vni_range: tuple[int, int]
    system_namespaces: frozenset[str]
    edges: frozenset[str]
    manager: bool
    host_addresses: tuple[IPv4Address, ...]
    hosts: Mapping[str, IPv4Address]
    host_ports: tuple[Ports, ...]
    routed_networks: tuple[IPv4Network, ...]
    provider: Provider | None
    metrics: tuple[str, int]

    @property
    def edge(self) -> bool:
        """Whether this host carries external addresses."""
        return self.node in self.edges


class _Reader:
    """Takes values out of a mapping and notes what is wrong with them."""

    def __init__(self, data: dict[Any, Any], findings: list[Finding], prefix: str = "") -> None:
        self._data = dict(data)
        self._findings = findings
        self._prefix = prefix
        self._asked: set[str] = set()

    def wrong(self, key: str, found: str, wanted: str) -> None:
        self._findings.append(Finding(self._prefix + key, found, wanted))

    def take(self, key: str, wanted: str, convert: Callable[[Any], Any], default: Any = ...) -> Any:
        """Return the converted value, or None when it is not usable. convert raises ValueError or TypeError."""
        self._asked.add(key)
        value = self._data.pop(key, None)
        if value is None:
            if default is ...:
                self.wrong(key, "nothing", wanted)
                return None
            return default
        try:
            return convert(value)
        except (ValueError, TypeError):
            self.wrong(key, repr(value), wanted)
            return None

    def finish(self) -> None:
        """Note the keys that nobody asked for."""
        for key in self._data:
            close = difflib.get_close_matches(str(key), self._asked, 1)
            wanted = f"{close[0]}, perhaps" if close else "one of " + ", ".join(sorted(self._asked))
            self.wrong(str(key), "a key of this name", wanted)


def load(path: str | Path) -> Settings:
    """Return what the file says. ConfigError names all of its problems."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        data = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(
            str(path), [Finding("file", error.strerror or str(error), "a file that can be read")]
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [Finding("file", " ".join(str(error).split()), "YAML in UTF-8")]) from error
    return check(data, str(path))


def check(data: object, path: str) -> Settings:
    """Return the settings that data, the content of the file, is about."""
    findings: list[Finding] = []
    if not isinstance(data, dict):
        raise ConfigError(path, [Finding("file", type(data).__name__, "a mapping")])
    reader = _Reader(data, findings)
    settings = Settings(
        node=reader.take("node", "the name of this host's node", _name),
        kubeconfig=reader.take("kubeconfig", "the absolute path of a kubeconfig", _path),
        encapsulation=reader.take("encapsulation", "vxlan or gre", _one_of(ENCAPSULATIONS)),
        datapath=reader.take("datapath", "system or netdev", _one_of(DATAPATHS)),
        cluster_cidr=reader.take("cluster_cidr", "the IPv4 network of all pods, as 10.244.0.0/16", _network),
        service_cidr=reader.take("service_cidr", "the IPv4 network of services, as 10.96.0.0/16", _network),
        node_networks=reader.take("node_networks", "a list of IPv4 networks that the hosts are in", _networks),
        mtu=reader.take("mtu", f"null, or a number from {MIN_MTU} to {MAX_MTU}", _within(MIN_MTU, MAX_MTU), None),
        vni_range=reader.take(
            "vni_range", f"[first, last] within 1 to {MAX_VNI}, first not above last", _range, (1, MAX_VNI)
        ),
        system_namespaces=reader.take("system_namespaces", "a list of namespaces", _names, frozenset()),
        edges=reader.take("edges", "a list of names of nodes", _names, frozenset()),
        manager=reader.take("manager", "true or false", _boolean, False),
        host_addresses=reader.take("host_addresses", "a list of IPv4 addresses", _addresses, ()),
        hosts=reader.take("hosts", "a mapping of names to IPv4 addresses", _named_addresses, {}),
        host_ports=reader.take("host_ports", "a list of ports, as tcp/6443 or udp/30000-32767", _ports, ()),
        routed_networks=reader.take("routed_networks", "a list of IPv4 networks", _some_networks, ()),
        provider=reader.take(
            "provider", "a mapping with interface, network and gateway", lambda value: _provider(value, findings), None
        ),
        metrics=reader.take("metrics", "address:port, as 127.0.0.1:9109", _endpoint, ("127.0.0.1", 9109)),
    )
    reader.finish()
    _check_networks(settings, findings)
    if findings:
        raise ConfigError(path, findings)
    return settings


def derived_mtu(settings: Settings, underlay: int) -> int:
    """Return the MTU of the pods' interfaces over an underlay of the given MTU. ValueError when it does not fit."""
    most = underlay - OVERHEAD[settings.encapsulation]
    mtu = most if settings.mtu is None else settings.mtu
    if mtu > most or mtu < MIN_MTU:
        raise ValueError(
            f"MTU of pods: found {mtu} over an underlay of {underlay}, wanted {MIN_MTU} to {most}, "
            f"as {settings.encapsulation} adds {OVERHEAD[settings.encapsulation]}; "
            "raise the MTU of the underlay or correct mtu"
        )
    return mtu


def _check_networks(settings: Settings, findings: list[Finding]) -> None:
    """Note networks that overlap: a packet for one of them would be taken for one of the other."""
    named: list[tuple[str, IPv4Network | None]] = [
        ("cluster_cidr", settings.cluster_cidr),
        ("service_cidr", settings.service_cidr),
        *(("node_networks", network) for network in settings.node_networks or ()),
    ]
    if settings.provider is not None:
        named.append(("provider.network", settings.provider.network))
    for number, (where, network) in enumerate(named):
        for other_where, other in named[:number]:
            # The provider network may be the one the hosts are in.
            if network is None or other is None or {where, other_where} <= {"provider.network", "node_networks"}:
                continue
            if network.overlaps(other):
                findings.append(Finding(where, str(network), f"a network that does not overlap {other_where} {other}"))
    if settings.node and settings.edges is not None and not settings.edge and settings.provider is not None:
        findings.append(Finding("provider", "a provider network", f"none, or {settings.node} among edges"))


def _provider(value: Any, findings: list[Finding]) -> Provider | None:
    if not isinstance(value, dict):
        raise TypeError
    reader = _Reader(value, findings, "provider.")
    provider = Provider(
        interface=reader.take(
            "interface", f"the name of an interface, at most {_INTERFACE_LENGTH} characters", _interface
        ),
        network=reader.take("network", "an IPv4 network, as 192.0.2.0/24", _network),
        router=reader.take("gateway", "the IPv4 address of the router in provider.network", IPv4Address),
    )
    reader.finish()
    if provider.network is not None and provider.router is not None and provider.router not in provider.network:
        reader.wrong("gateway", str(provider.router), f"an address in provider.network {provider.network}")
    return provider


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value or value.strip() != value:
        raise ValueError
    return value


def _interface(value: Any) -> str:
    name = _name(value)
    if len(name) > _INTERFACE_LENGTH or "/" in name or any(character.isspace() for character in name):
        raise ValueError
    return name


def _path(value: Any) -> Path:
    path = Path(_name(value))
    if not path.is_absolute():
        raise ValueError
    return path


def _named_addresses(value: Any) -> Mapping[str, IPv4Address]:
    if not isinstance(value, dict):
        raise ValueError
    return dict(zip(map(_name, value), _addresses(list(value.values()))))


def _one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return convert


def _network(value: Any) -> IPv4Network:
    if not isinstance(value, str) or "/" not in value:
        raise ValueError
    return IPv4Network(value)


def _networks(value: Any) -> tuple[IPv4Network, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return tuple(_network(entry) for entry in value)


def _some_networks(value: Any) -> tuple[IPv4Network, ...]:
    return _networks(value) if value != [] else ()


def _addresses(value: Any) -> tuple[IPv4Address, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(IPv4Address(str(entry)) for entry in value)


def _ports(value: Any) -> tuple[Ports, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_port(entry) for entry in value)


def _port(value: Any) -> Ports:
    protocol, _ignored, numbers = str(value).partition("/")
    first, separator, last = numbers.partition("-")
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError
    number = _within(1, 65535)
    ports = Ports(protocol.upper(), number(int(first)), number(int(last)) if separator else None)
    if ports.port is not None and ports.last is not None and ports.last < ports.port:
        raise ValueError
    return ports


def _names(value: Any) -> frozenset[str]:
    if not isinstance(value, list):
        raise ValueError
    return frozenset(_name(entry) for entry in value)


def _within(least: int, most: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError
        return value

    return convert


def _range(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError
    number = _within(1, MAX_VNI)
    first, last = number(value[0]), number(value[1])
    if first > last:
        raise ValueError
    return first, last


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _endpoint(value: Any) -> tuple[str, int]:
    address, separator, port = str(value).rpartition(":")
    if not separator:
        raise ValueError
    return str(IPv4Address(address)), _within(1, 65535)(int(port))
