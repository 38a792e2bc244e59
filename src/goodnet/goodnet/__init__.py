# SPDX-License-Identifier: GPL-3.0-or-later
"""GoodNet: the tenant network of Cloudbang, on Open vSwitch."""
