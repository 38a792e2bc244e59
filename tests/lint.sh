#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Style, types and the rules of Ansible collections: the fastest first, then the slow ones in two lanes side by side.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check .
log=build/ansible-lint.log
status=0
{
    ansible-lint --offline -q --nocolor
    yamllint --strict .
    antsibull-changelog lint
    antsibull-changelog lint-changelog-yaml changelogs/changelog.yaml
} >"$log" 2>&1 &
{ mypy && tests/sanity.sh; } || status=$?
wait $! || { status=$?; cat "$log"; }
exit $status
