"""Do two checkouts write the same files? Byte for byte, every target, with the card's text held constant.

    python evidence/same_payloads.py BEFORE AFTER [EMBEDDER OPTION ...]

BEFORE and AFTER are checkouts of the repository (`git worktree add BEFORE REVISION` makes one). Each runs `pocketface
export EMBEDDER OPTION ...` (the embedded default, on rendered faces, if none is named) in a process of its own, for all
targets that both know. A card may say something else in another version, and that is all that may differ: in both
processes a card is written as the model's name and its precision. Ends with 1 if a file differs or is missing.
Takes about eight minutes of one core.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CHILD = """
from collections import defaultdict
from pocketface.export import artifact

written = {}


def to_json(card):
    text = f"{card.model} {card.precision}"
    written[text] = card
    return text


artifact.Card.to_json = to_json
artifact.Card.from_json = classmethod(lambda of, text: written[text if isinstance(text, str) else bytes(text).decode()])
artifact.Card.sentences = lambda card: defaultdict(str)
from pocketface.__main__ import main

main()
"""
TARGETS = "import json; from pocketface.export.targets import TARGETS; print(json.dumps(list(TARGETS)))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("export", nargs=argparse.REMAINDER, help="what to export, and options")
    arguments = parser.parse_args()
    checkouts = [arguments.before.resolve(), arguments.after.resolve()]
    known = [json.loads(run(checkout, "-c", TARGETS).splitlines()[-1]) for checkout in checkouts]
    targets = [target for target in known[0] if target in known[1]]
    with tempfile.TemporaryDirectory() as folder:
        hashes = []
        for number, checkout in enumerate(checkouts):
            out = Path(folder) / str(number)
            chosen = [word for target in targets for word in ("--target", target)]
            export = ["export", *(arguments.export or ["embedded-default"]), *chosen, "--out", str(out)]
            print(run(checkout, "-c", CHILD, *export), end="", flush=True)
            hashes.append(payloads(out / "artifacts"))
    names = sorted({*hashes[0], *hashes[1]})
    differing = [name for name in names if hashes[0].get(name) != hashes[1].get(name)]
    for name in names:
        print(f"{'DIFFERS' if name in differing else 'same':8}{hashes[1].get(name, 'missing')[:16]:18}{name}")
    print(f"{len(names) - len(differing)} of {len(names)} files are byte for byte equal")
    sys.exit(1 if differing or not names else 0)


def run(checkout: Path, *arguments: str) -> str:
    """Runs Python with the package of a checkout, whatever is installed; gives what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pocketface").symlink_to(checkout, target_is_directory=True)
        environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
        process = subprocess.run(
            [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
    if process.returncode and arguments[1] != CHILD:  # an export that lacks one target has written the others
        sys.exit(f"{checkout} ended with {process.returncode}")
    return process.stdout


def payloads(folder: Path) -> dict[str, str]:
    """Gives the SHA-256 of every file below the folder, but for the exporter's own record of what it did."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "exported.json")
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    main()
