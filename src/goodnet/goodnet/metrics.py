# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus gets to know of the agent."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.process_collector import ProcessCollector


class Metrics:
    """The agent's figures, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.objects = Gauge(
            "goodnet_objects", "What the flows are made of, and the flows.", ["kind"], registry=registry
        )
        self.reconcile = Histogram(
            "goodnet_reconcile_seconds",
            "Time from the state of cluster and host to installed flows.",
            buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self.failures = Counter(
            "goodnet_reconcile_failures", "Reconciliations that did not succeed.", registry=registry
        )
        self.changes = Counter("goodnet_flow_changes", "Flows added or removed.", ["change"], registry=registry)
        self.drift = Counter("goodnet_drift_repairs", "Times that flows were not as installed.", registry=registry)
        self.watch = Gauge(
            "goodnet_watch_in_contact", "1 while the list is up to date with the API.", ["resource"], registry=registry
        )
        self.cni = Histogram(
            "goodnet_cni_seconds",
            "Time of requests of the CNI plugin.",
            ["op", "result"],
            buckets=(0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self.provider = Gauge(
            "goodnet_provider_master", "1 while this host holds the external addresses.", registry=registry
        )

    def serve(self, address: str, port: int) -> None:
        """Answer on a port, from threads of their own. OSError when the port is taken."""
        start_http_server(port, addr=address, registry=self.registry)

    def counts(self, counts: Mapping[str, int]) -> None:
        for kind, count in counts.items():
            self.objects.labels(kind).set(count)

    def contact(self, lists: Mapping[str, bool]) -> None:
        """Take for each list whether it is up to date; lists of namespaces that come and go count as one."""
        together: dict[str, bool] = {}
        for name, value in lists.items():
            kind, _ignored, namespace = name.partition("/")
            resource = f"{kind} of namespaces" if namespace else name
            together[resource] = together.get(resource, True) and value
        for resource, value in together.items():
            self.watch.labels(resource).set(value)
