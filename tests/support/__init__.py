# SPDX-License-Identifier: GPL-3.0-or-later
"""Code that several suites share. Each suite has the directory `tests` on its path."""
