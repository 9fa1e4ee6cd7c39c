"""Crowds of rendered faces, kept on disk: a thousand take half a minute, and the same numbers give the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import scipy

from ...files import written_whole
from ..contract import Faces

MOST = 512 << 20  # bytes that the cache may have: the default run's faces are 68 MB
RENDERER = (*sorted(Path(__file__).parent.glob("*.py")), Path(__file__).parent.parent / "contract.py")


def kept_or_rendered(crowd: Mapping[str, int], render: Callable[[], Faces]) -> Faces:
    """Gives what `render` gives, from the cache where the same renderer rendered the same crowd before.

    The cache is $XDG_CACHE_HOME/pocketface/faces (~/.cache without that variable). A file of it is named by the
    renderer and the crowd, and by its own SHA-256: what is damaged is rendered again. The least recently used go where
    there are more than `MOST` bytes. Where nothing can be kept, faces are rendered each time.

    Args:
        crowd: All that decides the faces, besides the renderer's code and libraries.
        render: Called where they are not in the cache.

    Returns:
        (N, H, W, 3) uint8 RGB.
    """
    try:
        folder = _folder()
        key = _key(crowd)
    except (OSError, RuntimeError):  # nobody's home, or a program without its sources
        return render()
    faces = _kept(folder, key)
    if faces is None:
        faces = render()
        with contextlib.suppress(OSError):
            _keep(faces, folder, key)
    return faces


def _folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root, "pocketface", "faces")


def _key(crowd: Mapping[str, int]) -> str:
    versions = f"numpy {np.__version__}, scipy {scipy.__version__}"
    decides = [path.read_bytes() for path in RENDERER] + [versions.encode(), json.dumps(crowd, sort_keys=True).encode()]
    return hashlib.sha256(b"".join(decides)).hexdigest()[:32]


def _kept(folder: Path, key: str) -> Faces | None:
    for path in folder.glob(f"{key}-*.npy"):
        with contextlib.suppress(OSError, ValueError):
            content = path.read_bytes()
            if path.stem == f"{key}-{hashlib.sha256(content).hexdigest()}":
                os.utime(path)
                return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
        with contextlib.suppress(OSError):
            path.unlink()
    return None


def _keep(faces: Faces, folder: Path, key: str) -> None:
    written = io.BytesIO()
    np.save(written, faces, allow_pickle=False)
    content = written.getvalue()
    with written_whole(folder / f"{key}-{hashlib.sha256(content).hexdigest()}.npy") as beside:
        beside.write_bytes(content)
    newest_first = sorted(((path.stat().st_mtime, path) for path in folder.iterdir()), reverse=True)
    total = 0
    for _, path in newest_first:
        total += path.stat().st_size
        if total > MOST:
            path.unlink()
