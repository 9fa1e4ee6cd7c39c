"""Tries a file in a process of its own, with limits, before this process opens it: native code may crash on damage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from ..bounds import limit_memory
from ..children import run_child, signal_name
from ..faces.contract import InputContract
from ..files import sha256_of
from ..lazy import opener_of
from .formats import CHECKPOINT, format_of

TIMEOUT = 60.0  # seconds, most of them for imports on a busy machine

_ran: set[str] = set()  # hashes of files that ran already


def vouch_for(path: Path) -> None:
    """Notes that the file ran here just now, so that it need not be tried."""
    _ran.add(sha256_of(path))


def try_in_child(path: Path, contract: InputContract, output: str = "") -> None:
    """Opens a file and embeds a black face with it, in a process of its own; a file that ran is not tried again.

    Args:
        path: A converted file; a checkpoint is read by no native code, and not tried.
        contract: What it is fed.
        output: The name of the embedding, where the file has several outputs.

    Raises:
        ValueError: It is refused, it crashes its process, or it takes too much time or memory.
    """
    kind = format_of(path)
    if kind.name == CHECKPOINT or sha256_of(path) in _ran:
        return
    request = {"path": str(path.absolute()), "opener": kind.opener, "contract": contract.to_dict(), "output": output}
    command = [sys.executable, "-P", "-m", __name__, json.dumps(request)]
    try:
        done = run_child(command, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{path.name} did not embed a face within {TIMEOUT:g} s; it is damaged or too large") from None
    if done.returncode == -9:
        raise ValueError(f"{path.name} was not tried: its process was killed, perhaps for want of memory; try again")
    if done.returncode < 0:
        raise ValueError(f"{path.name} is damaged: it crashes {kind.runtime} with {signal_name(-done.returncode)}")
    if done.returncode:
        said = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise ValueError(said[-1])
    vouch_for(path)


def _main() -> int:
    request = json.loads(sys.argv[1])
    path, contract = Path(request["path"]), InputContract.from_dict(request["contract"])
    limit_memory(path)
    try:
        session = opener_of(request["opener"], output=request["output"])(path, 1)
        session.run(contract.preprocess(np.zeros((1, contract.height, contract.width, 3), np.uint8)))
    except ValueError as error:
        print(" ".join(str(error).split()))
        return 1
    except Exception as error:  # whatever a runtime throws, MemoryError too
        print(f"{path.name} cannot be run: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
