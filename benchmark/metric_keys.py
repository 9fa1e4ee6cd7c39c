"""Keys of a file's numbers: the metric, and the threads, batch, core or mirror image that are part of the question."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .measurement import Measurement
from .metrics import metric_of
from .places import place_of

KEY = re.compile(
    r"(?P<metric>.+?)(?:@(?P<threads>\d+)|@(?P<core>[a-z]\w+))?(?:, batch (?P<batch>\d+))?(?P<flip>\+flip)?"
    r"(?: \(measurement (?P<repeat>\d+)\))?"
)


def key_of(row: Measurement) -> str:
    """Gives a row's key: "latency_ms_p50@2, batch 8" on 2 threads, "arm64_instructions@a53" on an emulated core."""
    key, threads, batch = row.metric, row.conditions.get("threads", 1), row.conditions.get("batch", 1)
    if core := place_of(row.runtime).core:
        return f"{key}@{core}"
    by_threads = metric_of(key).by_threads
    if by_threads or threads != 1:
        key += f"@{threads}"
    return f"{key}, batch {batch}" if by_threads and batch != 1 else key


def keyed(rows: Iterable[Measurement]) -> dict[str, Measurement]:
    """Gives the rows of one file in one runtime by key; nothing is dropped silently.

    Flip-summed embeddings beside single crops get the key "...+flip"; where all were verified so, it is the accuracy.
    Any other second measurement of the same gets "... (measurement 2)"; an invalid row gives way to a valid one.
    """
    by_key: dict[str, Measurement] = {}
    for row in rows:
        key = key_of(row)
        if key in by_key and row.conditions.get("flip") is True and by_key[key].conditions.get("flip") is not True:
            key = f"{key}+flip"
        if key not in by_key or not by_key[key].valid:
            by_key[key] = row
        elif row.valid and row != by_key[key]:
            others = sum(other.partition(" (")[0] == key for other in by_key)
            by_key[f"{key} (measurement {others + 1})"] = row
    return by_key


def title_of(key: str) -> str:
    """Gives the title of a key for people.

    >>> title_of("latency_ms_p50@1"), title_of("latency_ratio@2"), title_of("verification_accuracy+flip")
    ('Median latency on 1 thread', 'Faster on 2 threads', 'Accuracy, flip-sum')
    """
    parts = KEY.fullmatch(key)
    assert parts is not None  # any text has a metric, if not one that is known
    title, threads = metric_of(parts["metric"]).title, parts["threads"]
    if threads:
        title += f" on {threads} thread{'s' if threads != '1' else ''}"
    if parts["core"]:
        emulated = "" if parts["metric"] == "arm64_instructions" else "emulated "
        title += f", {emulated}{parts['core'].upper()}"
    title += f", batch {parts['batch']}" if parts["batch"] else ""
    title += ", flip-sum" if parts["flip"] else ""
    return title + (f" (measurement {parts['repeat']})" if parts["repeat"] else "")


def phrase_of(key: str) -> str:
    """Gives the title of a key within a sentence.

    >>> phrase_of("size_bytes"), phrase_of("tar_at_far_1e-3")
    ('size', 'TAR at FAR 1e-3')
    """
    title = title_of(key)
    return title[0].lower() + title[1:] if title[1].islower() else title
