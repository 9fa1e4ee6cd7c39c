"""Finished cells of a sweep in an object store, for machines that share no folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .files import DAMAGE, full_disk, is_within, written_whole
from .spelling import first_line

RECORD = "cell.json"
MOST_RECORD = 16_000_000  # bytes of a record
MOST_CELL = 20_000_000_000  # bytes of all files of a cell


@dataclass(frozen=True)
class CellArchive:
    """A folder of cells that fsspec can reach, such as s3://bucket/cells, memory://cells or file:///mnt/cells."""

    url: str

    @classmethod
    def opened(cls, url: str) -> CellArchive:
        """Gives the archive at `url`, and makes sure that it can be read.

        Raises:
            ValueError: There is none of that kind, what it wants is not installed, or it cannot be reached.
        """
        archive = cls(url)
        with _sentence(f"the archive {url} cannot be reached"):
            files, root = archive._place
            files.makedirs(root, exist_ok=True)
            files.ls(root)
        return archive

    @cached_property
    def _place(self) -> tuple[Any, str]:
        import fsspec

        files, root = fsspec.url_to_fs(self.url)
        return files, str(root).rstrip("/")

    def has(self, name: str) -> bool:
        """Says whether a finished cell is there.

        Args:
            name: The folder of the cell.

        Raises:
            ValueError: The archive cannot be read.
        """
        files, root = self._place
        with _sentence(f"{name} cannot be sought in {self.url}"):
            files.invalidate_cache()
            return bool(files.exists(f"{root}/{name}/{RECORD}"))

    def fetch(self, name: str, store: Path) -> bool:
        """Copies a finished cell into a store, its record last; says whether there is one.

        Args:
            name: The folder of the cell.
            store: The folder of cells that it is copied into.

        Raises:
            ValueError: The archive cannot be read.
        """
        files, root = self._place
        with _sentence(f"{name} cannot be read from {self.url}"):
            files.invalidate_cache()
            try:
                if files.size(f"{root}/{name}/{RECORD}") > MOST_RECORD:
                    return False
                content = files.cat_file(f"{root}/{name}/{RECORD}")
                sizes = _sizes(json.loads(content))
                if any(files.size(f"{root}/{name}/{path}") != size for path, size in sizes.items()):
                    return False
            except (FileNotFoundError, *DAMAGE):  # not there, being written, or damaged: it is made here
                return False
            for path in sizes:
                with written_whole(store / name / path) as beside:
                    files.get_file(f"{root}/{name}/{path}", str(beside))
            with written_whole(store / name / RECORD) as beside:
                beside.write_bytes(content)
        return True

    def keep(self, name: str, store: Path) -> None:
        """Copies a finished cell into the archive, its record last: what has no record is not there.

        Args:
            name: The folder of the cell.
            store: The folder of cells in which it lies.

        Raises:
            ValueError: The archive cannot be written.
        """
        files, root = self._place
        content = (store / name / RECORD).read_bytes()
        with _sentence(f"{name} cannot be written to {self.url}"):
            for path in _sizes(json.loads(content)):
                place = f"{root}/{name}/{path}"
                files.makedirs(place.rpartition("/")[0], exist_ok=True)
                files.put_file(str(store / name / path), place)
            files.pipe_file(f"{root}/{name}/{RECORD}", content)


def _sizes(record: dict[str, Any]) -> dict[str, int]:
    """Gives the files of a record and their sizes; refuses paths that lead out of the cell."""
    sizes = {str(path): int(size) for path, size in record["files"].items()}
    for path in sizes:
        if not is_within(path):
            raise ValueError(f"{path!r} is no path within a cell")
    if sum(sizes.values()) > MOST_CELL or min(sizes.values(), default=0) < 0:
        raise ValueError("the sizes of its files are impossible")
    return sizes


@contextlib.contextmanager
def _sentence(what: str) -> Iterator[None]:
    """Raises whatever a store raises as one sentence; a full disk as itself."""
    try:
        yield
    except Exception as error:  # each kind of store has errors of its own
        if full := full_disk(error):
            raise full from error
        raise ValueError(f"{what}: {first_line(error)}") from error
