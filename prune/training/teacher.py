"""A teacher's embeddings of crops: each is computed when it is first needed, and kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ...faces.contract import Faces
from ...models.embedder import Embedder, Embeddings

GROUP = 16  # crops that a teacher embeds at once; with more, requesting memory from the system dominates
LARGEST_CACHE = 1 << 29  # bytes of embeddings in memory; those of further crops are computed anew each time


class TeacherEmbeddings:
    """What a teacher makes of numbered crops.

    Embeddings are computed in groups of exactly `GROUP`: the size of a group decides in which order a layer sums, so
    that the last bits of an embedding would otherwise depend on how many crops happen to be embedded with it. What is
    known already, here or from an earlier run, therefore changes no result.
    """

    def __init__(self, embedder: Embedder, crops: int, fingerprint: str = "") -> None:
        """Knows no embedding yet.

        Args:
            embedder: The teacher; used by one thread at a time.
            crops: Their number.
            fingerprint: Of the teacher and the crops, for files.
        """
        self._embedder, self.size, self.fingerprint = embedder, embedder.embedding_size, fingerprint
        # A row of zeros is not known. The system gives those pages no memory before they are written to.
        self._kept = np.zeros((min(crops, LARGEST_CACHE // (4 * self.size)), self.size), np.float32)
        self._lock = Lock()  # one thread embeds, another saves
        self.changed = False  # since the last `saving`

    def embed(
        self, chosen: NDArray[np.int64], crops: Faces, spare: NDArray[np.int64], spare_crops: Faces
    ) -> Embeddings:
        """Gives the embeddings of crops, computing those that are not known.

        Args:
            chosen: (n,) numbers of the crops.
            crops: (n, H, W, 3).
            spare: (m,) numbers of crops that are needed next; they fill up the last group, so that no time is lost.
            spare_crops: (m, H, W, 3).

        Returns:
            (n, D) float32 of unit length.
        """
        rows = self._known(chosen)
        unknown = np.flatnonzero(~rows.any(1))
        if len(unknown):
            room = -len(unknown) % GROUP
            fill = np.flatnonzero(~self._known(spare).any(1))[:room]
            group = np.concatenate([crops[unknown], spare_crops[fill]])
            missing = -len(group) % GROUP
            group = np.concatenate([group, np.repeat(group[-1:], missing, axis=0)])
            computed = self._embedder.embed(group, batch=GROUP)
            rows[unknown] = computed[: len(unknown)]
            self.keep(np.concatenate([chosen[unknown], spare[fill]]), computed[: len(group) - missing])
        return rows

    def keep(self, numbers: NDArray[np.int64], embeddings: Embeddings) -> None:
        """Remembers the embeddings (n, D) of the crops `numbers` (n,), where there is room."""
        fits = numbers < len(self._kept)
        with self._lock:
            self._kept[numbers[fits]] = embeddings[fits]
            self.changed |= bool(fits.any())

    def restore(self, embeddings: Embeddings) -> None:
        """Takes what an earlier run kept: (M, D), zeros where nothing was known."""
        if embeddings.shape == self._kept.shape:
            self._kept[:] = embeddings

    @contextmanager
    def saving(self) -> Iterator[Embeddings]:
        """Yields the embeddings by crop number, zeros where none is known, to be saved before anything changes."""
        with self._lock:
            yield self._kept
            self.changed = False

    def _known(self, numbers: NDArray[np.int64]) -> Embeddings:
        rows = np.zeros((len(numbers), self.size), np.float32)
        fits = numbers < len(self._kept)
        rows[fits] = self._kept[numbers[fits]]
        return rows
