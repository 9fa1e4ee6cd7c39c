"""Photos of iPhones (HEIC), decoded by pillow-heif in a process of its own, as libheif reads what anybody sent."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

from ..bounds import limit_memory, limited_time
from ..children import last_line, run_child

HEIC = (".heic", ".heif")
"""The file endings; in small letters."""


def reads_heic() -> bool:
    """Tells whether pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def heic_as_png(path: Path, largest: int) -> bytes:
    """Decodes a photo and gives it as a PNG file, upright: libheif turns it as the file says.

    Args:
        path: The photo.
        largest: Pixels; a larger photo is refused before it is decoded.

    Raises:
        ValueError: It cannot be read, or is larger.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "photo.png"
        done = run_child([sys.executable, "-P", "-m", __name__, path.absolute(), target, str(largest)])
        if done.returncode:
            raise ValueError(f"{path} cannot be read as an image: {last_line(done)}")
        return target.read_bytes()


def _decode(path: Path, target: Path, largest: int) -> None:
    import pillow_heif
    from PIL import Image

    pillow_heif.register_heif_opener()
    with Image.open(path, formats=("HEIF",)) as image:
        if image.height * image.width > largest:
            raise SystemExit(f"it has {image.height * image.width} pixels; {largest} are the most that are read")
        image.convert("RGB").save(target, compress_level=1)


if __name__ == "__main__":
    limit_memory(Path(sys.argv[1]))
    with limited_time():
        _decode(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
