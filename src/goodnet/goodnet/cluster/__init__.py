# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the cluster, and what of it concerns this host."""
