"""What several suites share. A suite has the directory `tests` on its path."""
