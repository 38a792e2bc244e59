#!/usr/bin/env bash
# Style, types and the rules of Ansible collections; the fastest first, the two slow ones side by side.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check .
mypy
yamllint --strict .
log=build/ansible-lint.log
ansible-lint --offline -q --nocolor >"$log" 2>&1 &
tests/sanity.sh || { kill $! 2>/dev/null; exit 1; }
wait $! || { cat "$log"; exit 1; }
