#!/usr/bin/env bash
# Style, types and the rules of Ansible collections; the fastest first.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check .
mypy
yamllint --strict .
antsibull-changelog lint
antsibull-changelog lint-changelog-yaml changelogs/changelog.yaml
ansible-lint --offline -q
tests/sanity.sh
