"""The whole chain on two published MobileFaceNets and the 6,000 pairs of LFW; its rows lie beside it as JSON.

    python tests/evidence/chain_lfw.py --faces FOLDER --weights FOLDER [--out runs/evidence]

The folders are described in tests/examples/lfw_relu6.toml. Takes about half an hour on two cores; resumes.
"""

import argparse
import time
from pathlib import Path

from pocketface import chain
from pocketface.benchmark.measurement import Measurement, read_measurements, write_measurements
from pocketface.benchmark.speed.latency import device_name

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    options = parser.parse_args()
    rows: list[Measurement] = []
    for recipe in ("lfw_relu6", "lfw_prelu"):
        out = options.out / recipe
        resumed, started = out.exists(), time.time()
        roots = chain.Roots(EXAMPLES, options.faces, options.weights)
        resolved = roots.resolve(chain.read_recipe(EXAMPLES / f"{recipe}.toml"))
        report = chain.run(resolved, out, lambda line: print(line, flush=True))
        seconds = time.time() - started
        print(f"{recipe}: {seconds:.0f} s, {report}", flush=True)
        measured = read_measurements(out / "measurements.json")
        if not resumed:  # what a resumed run took says nothing
            whole = Measurement(str(resolved.name), "", "", "", "", device_name(), "run_s", round(seconds, 1), "s")
            measured.append(whole)
        rows += measured
    write_measurements(rows, HERE / "chain_lfw.json")


if __name__ == "__main__":
    main()
