"""Whole runs where things are odd: a full disk, a second run, a moved folder, odd names, an ordinary user.

    python evidence/odd_places.py [--out runs/evidence/odd-places]

Run it from the repository root, on Linux, as root: it mounts small disks and becomes another user, who must be
able to read Python and what is installed. It takes about ten
minutes on one core, with the tiny network, faces and recipe of kills.py. Writes evidence/odd_places.jsonl, a row per
try; one that did not end as it should is invalid and says why.

    full disk       the run folder and TMPDIR lie on a disk that is full at five shares of what a run needs: one
                    sentence with what is free, exit code 2; with a larger disk, the same command ends with the files
                    of a calm run
    second run      in the folder of one that runs: one sentence that names the holder, exit code 2; the first goes on
    moved folder    faces, recipe and run folder elsewhere: nothing is trained or exported again
    odd names       spaces, quotes, `$(...)`, umlauts and Chinese in every folder
    ordinary user   a run to its end, and a folder that it may not write to
"""

import argparse
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kills import Try, contents, warm_up, write_inputs
from rows import write_rows

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement

HERE = Path(__file__).parent
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the bytes that a run needs at its peak
NAME = 'it\'s "one" $(ls) Größe 人脸'
NOBODY = 65534
MADE = (".onnx", ".tflite", ".safetensors")  # what names no folder
AGAIN = ("phase ", " s)")  # of lines that say that something is trained or exported


class AsNobody(Try):
    """A run by a user without rights."""

    def _run(self, *command: Any) -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.environ["HOME"] = "/nonexistent"
        super()._run(*command)


class Tries:
    """The folder that is worked in, the calm run, and the rows."""

    def __init__(self, out: Path) -> None:
        shutil.rmtree(out, ignore_errors=True)
        self.out, self.rows = out, list[Measurement]()
        self.temporary = self.folder("tmp")
        self.recipe = write_inputs(self.folder("inputs"))
        self.peak = 0
        with self.disk(1 << 30) as disk:
            calm = self.start(disk / "run", disk / "tmp")
            while calm.ended(0.0) is None:
                space = os.statvfs(disk)
                self.peak = max(self.peak, (space.f_blocks - space.f_bfree) * space.f_frsize)
                time.sleep(0.01)
            self.calm = contents(disk / "run")
        print(f"a calm run needs {self.peak / 1e6:.1f} MB; {len(self.calm)} files of it are compared", flush=True)

    def start(self, out: Path, temporary: Path, recipe: Path | None = None, kind: type[Try] = Try) -> Try:
        """Starts a run; what it prints is kept beside all."""
        log = self.out / "logs" / f"{time.monotonic_ns()}.log"
        log.parent.mkdir(exist_ok=True)
        log.parent.chmod(0o777)
        return kind(recipe or self.recipe, out, temporary, log=log)

    def folder(self, name: str) -> Path:
        (self.out / name).mkdir(parents=True)
        return self.out / name

    @contextmanager
    def disk(self, size: int) -> Iterator[Path]:
        """Mounts a disk of so many bytes, with a folder `tmp`."""
        place = self.out / "disk"
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
        try:
            (place / "tmp").mkdir()
            yield place
        finally:
            subprocess.run(["umount", place], check=True)

    def row(self, tried: Try, wanted: int, says: str, failures: list[str], **conditions: Any) -> None:
        """Notes whether a try ended with the exit code `wanted` and said `says`, in one sentence if it is refused."""
        status, said = tried.ended(), tried.said()
        failures = failures + ([f"exit {status}: {said[-300:]}"] if status != wanted else [])
        sentences = [line for line in said.splitlines() if line.startswith("pocketface: ")]
        failures += [f"it said {said[-300:]}"] if says not in ("".join(sentences) if wanted else said) else []
        failures += ["a traceback"] if "Traceback" in said else []
        failures += [f"{len(sentences)} sentences"] if wanted and len(sentences) != 1 else []
        value, reason = round(tried.seconds, 2), "; ".join(failures)
        conditions |= {
            "exit": status,
            "said": sentences[-1].replace(str(self.out), "OUT") if wanted and sentences else "",
        }
        self.rows.append(
            Measurement(
                *("tiny", "", "", "", "", device_name()),
                *("odd_place_s", value, "s"),
                valid=not failures,
                reason=reason,
                conditions=conditions,
            )
        )
        print(f"{len(self.rows)}: {value} s {conditions} {reason}", flush=True)
        write_rows(self.rows, HERE / "odd_places.jsonl")

    def differences(self, folder: Path, among: tuple[str, ...] = MADE) -> list[str]:
        """Names the files, of some endings, that are not those of the calm run."""
        found = contents(folder)
        names = sorted(name for name in {*found, *self.calm} if name.endswith(among))
        return [f"{name} differs" for name in names if found.get(name) != self.calm.get(name)]

    def full_disk(self, share: float) -> None:
        with self.disk(int(share * self.peak)) as disk:
            tried = self.start(disk / "run", disk / "tmp")
            tried.ended()
            left = [f"{path.name} was left" for path in disk.rglob("*.part")]
            at = {"at": "a full disk", "share": share}
            self.row(tried, 2, "No space left on device", left, **at)
            subprocess.run(["mount", "-o", f"remount,size={4 * self.peak}", disk], check=True)
            tried = self.start(disk / "run", disk / "tmp")
            tried.ended()
            self.row(tried, 0, "", self.differences(disk / "run", ("",)), **at | {"at": "the same disk, enlarged"})

    def second_run(self) -> None:
        first = self.start(self.out / "two", self.temporary)
        while not (self.out / "two").is_dir() and first.ended(0.1) is None:
            pass
        time.sleep(0.5)
        second = self.start(self.out / "two", self.temporary)
        second.ended()
        self.row(second, 2, str(first.process), [], at="the second of two runs in a folder")
        first.ended()
        self.row(first, 0, "", self.differences(self.out / "two", ("",)), at="the first of two runs in a folder")

    def moved(self) -> None:
        place = self.folder("here")
        recipe = write_inputs(place / "inputs")
        tried = self.start(place / "run", self.temporary, recipe)
        tried.ended()
        self.row(tried, 0, "", self.differences(place / "run"), at="before the move")
        there = place.rename(self.out / "there")
        tried = self.start(there / "run", self.temporary, there / "inputs" / recipe.name)
        tried.ended()
        again = [line for line in tried.said().splitlines() if line.startswith(AGAIN[0]) or line.endswith(AGAIN[1])]
        self.row(tried, 0, "", again + self.differences(there / "run"), at="after the move")

    def odd_names(self) -> None:
        recipe = write_inputs(self.folder(NAME))
        temporary = self.folder(f"{NAME} tmp")
        tried = self.start(self.out / NAME / NAME, temporary, recipe)
        tried.ended()
        self.row(tried, 0, "", self.differences(self.out / NAME / NAME), at=NAME)

    def ordinary_user(self) -> None:
        place = self.folder("nobody")
        recipe = write_inputs(place / "inputs")
        for folder in (place, self.temporary):
            os.chown(folder, NOBODY, NOBODY)
        tried = self.start(place / "run", self.temporary, recipe, AsNobody)
        tried.ended()
        self.row(tried, 0, "", self.differences(place / "run"), at="an ordinary user")
        closed = place / "closed"
        closed.mkdir(mode=0o755)
        tried = self.start(closed / "run", self.temporary, recipe, AsNobody)
        tried.ended()
        self.row(tried, 2, "Permission denied", [], at="a folder that it may not write to")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/evidence/odd-places"))
    options = parser.parse_args()
    warm_up()
    tries = Tries(options.out.absolute())
    for share in SHARES:
        tries.full_disk(share)
    tries.second_run()
    tries.moved()
    tries.odd_names()
    tries.ordinary_user()
    print(f"{len(tries.rows)} tries, {sum(not row.valid for row in tries.rows)} of them bad")


if __name__ == "__main__":
    main()
