"""Kills `pocketface sweep` at random moments, gives the command again, and compares what it made with a calm sweep.

    python evidence/sweep_kills.py [--kills 20] [--every 4] [--out runs/evidence/sweep-kills]

Run it from the repository root, on Linux; it needs no files. The sweep is that of tiny_sweep.py, and the packages are
imported once: each try is a fork, as in kills.py. A kill takes some 30 s on two busy cores, resuming included. Each
kill is SIGKILL of the sweep's own process at a random moment; every fourth is followed by a sweep to its end, whose
cells are compared and whose folders are searched for what was left. Writes evidence/sweep_kills.jsonl, a row per kill
and per sweep to the end.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

from kills import GRACE, KillRows, Try, litter, warm_up
from tiny_sweep import differing, made, write_sweep


class SweepTry(Try):
    """One `pocketface sweep`, in a session of its own."""

    def _run(self, command: list[str], *others: Any) -> None:
        super()._run([command[0], "sweep", *command[2:]], *others)


class Campaign(KillRows):
    """The calm sweep, the tries so far in the folder that is killed, and the rows."""

    def __init__(self, out: Path, every: int, seed: int) -> None:
        super().__init__("sweep_kills.jsonl")
        shutil.rmtree(out, ignore_errors=True)
        self.folder, self.temporary, self.every = out / "sweep", out / "tmp", every
        self.temporary.mkdir(parents=True)
        self.recipe, self.random = write_sweep(out / "inputs"), random.Random(seed)
        self.kills = 0  # since the last sweep to its end
        calm = SweepTry(self.recipe, out / "calm", self.temporary)
        assert calm.ended() == 0, calm.said()
        self.calm, self.names, self.length = made(out / "calm" / "cells"), cells(out / "calm"), calm.seconds
        print(f"calm sweep: {self.length:.0f} s, {len(self.names)} cells, {len(self.calm)} files compared", flush=True)

    def finish(self, tried: Try | None = None) -> None:
        """Sweeps to the end what was killed, and compares."""
        tried = tried or SweepTry(self.recipe, self.folder, self.temporary)
        status = tried.ended()
        failures = [] if status == 0 else [f"exit {status}: {tried.said()[-300:]}"]
        failures += [f"{name} differs" for name in differing(self.folder / "cells", self.calm)]
        failures += [] if cells(self.folder) == self.names else ["other cells than in a calm sweep"]
        failures += [f"{name} was left" for name in litter(self.folder, self.temporary)]
        self.row("sweep_to_end_s", tried, failures, kills=self.kills, cells=len(self.names), files=len(self.calm))
        self.kills = 0
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> bool:
        """Kills one try at a random moment; False where it was at its end before."""
        tried = SweepTry(self.recipe, self.folder, self.temporary)
        if tried.ended(self.random.uniform(0.2, self.length / (2 if self.kills else 1))) is not None:
            self.finish(tried)
            return False
        os.kill(tried.process, signal.SIGKILL)
        status = tried.ended()
        alive = tried.left_alive()
        failures = [f"{alive} processes live after {GRACE:g} s"] if alive else []
        self.kills += 1
        self.row("kill_s", tried, failures, exit=status, cells=len(cells(self.folder)))
        if self.kills >= self.every:
            self.finish()
        return True


def cells(folder: Path) -> list[str]:
    """Names the finished cells of a sweep."""
    return sorted(path.parent.name for path in folder.glob("cells/*/cell.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--every", type=int, default=4, help="kills before a sweep to the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/evidence/sweep-kills"))
    options = parser.parse_args()
    warm_up()
    import pocketface.sweeper  # noqa: F401

    campaign = Campaign(options.out.absolute(), options.every, options.seed)
    killed = 0
    while killed < options.kills:
        killed += campaign.kill()
    if campaign.kills:
        campaign.finish()
    campaign.tell()


if __name__ == "__main__":
    main()
