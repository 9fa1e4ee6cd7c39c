"""The report: what the measurements of one or several runs say, for people who decide."""
