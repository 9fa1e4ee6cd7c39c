"""The whole chain on two published MobileFaceNets and the 6,000 pairs of LFW; its rows lie beside it as JSON.

    python tests/evidence/chain_lfw.py --faces FOLDER --weights FOLDER [--out runs/evidence]

The folders are described in tests/examples/lfw_relu6.toml. Takes about half an hour on two cores; resumes.
"""

import argparse
import json
import time
from pathlib import Path

from pocketface import chain

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    options = parser.parse_args()
    rows = []
    for recipe in ("lfw_relu6", "lfw_prelu"):
        started = time.time()
        out = options.out / recipe
        roots = chain.Roots(EXAMPLES, options.faces, options.weights)
        report = chain.run(roots.resolve(chain.read_recipe(EXAMPLES / f"{recipe}.toml")), out)
        print(f"{recipe}: {time.time() - started:.0f} s, {report}", flush=True)
        rows += json.loads((out / "measurements.json").read_text(encoding="utf-8"))
    (HERE / "chain_lfw.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
