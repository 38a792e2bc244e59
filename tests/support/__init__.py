# SPDX-License-Identifier: GPL-3.0-or-later
"""What several suites share. A suite has the directory `tests` on its path."""
