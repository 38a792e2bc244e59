"""The site playbook on a site that is as it should be: nothing changes, in no mode."""

from __future__ import annotations

import time

import pytest

from .lab import Lab

SITE = "cloudbang.platform.site"


@pytest.mark.parametrize(
    "arguments",
    [(), ("--check", "--diff"), ("--limit", "compute1")],
    ids=["again", "check", "limit"],
)
def test_nothing_changes(lab: Lab, arguments: tuple[str, ...]) -> None:
    begin = time.monotonic()
    done = lab.play(SITE, *arguments)
    lab.measured(f"site {' '.join(arguments) or 'again'}, seconds", round(time.monotonic() - begin, 1))
    assert done.changed == {}
    if "--limit" not in arguments:
        assert set(done.stats) >= set(lab.nodes)
    assert all(not host["unreachable"] and not host["failures"] for host in done.stats.values())
