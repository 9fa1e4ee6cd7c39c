"""The report of one or several runs: which file to ship, why, and every number behind it."""
