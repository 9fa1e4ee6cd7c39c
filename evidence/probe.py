"""Whether `pocketface probe` names the contract that trained networks want, with and without labels.

    python evidence/probe.py --faces FOLDER --weights FOLDER [--out runs/probe] [--only NETWORK]

Run it from the repository root; it takes about ten minutes on one core and resumes after a kill. The folders are
described in examples/lfw_relu6.toml. Writes evidence/probe.jsonl.

Three trained networks whose authors say what they are fed, and one that sees blue for red: the PReLU network with the
channels of its first convolution in the other order, which is what a network that was trained on BGR is. Each is given
without a contract; with labels on LFW's pairs, without on faces of `train112`. How faces are altered there, how many
are looked at, and when the answer is "not sure" was chosen on `train112`. A first way to draw pairs where there are
labels left relu6 on LFW in a tie with the wrong contract first; the way that replaced it was chosen on `extra112`.

Rows: `probe_right` is 1 where the contract that is named first is the network's own, or gives it nearly the same
numbers; conditions say what was named, what it could not be told from, and the separations.
"""

import argparse
from pathlib import Path

from rows import write_rows
from safetensors.torch import load_file, save_file

from pocketface.benchmark.measurement import Measurement, read_measurements, write_measurements
from pocketface.benchmark.probing.result import ProbeResult, contract_title
from pocketface.contract_probe import probe
from pocketface.faces.contract import ARCFACE, IMAGENET, InputContract

HERE = Path(__file__).parent
FACTORIES = HERE.parent / "examples" / "published_mobilefacenets.py"
TRUTH = {
    "relu6": IMAGENET,
    "prelu": InputContract(scale=(1 / 128,) * 3),
    "prelu-bgr": InputContract(channel_order="bgr", scale=(1 / 128,) * 3),
    "edgeface": ARCFACE,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/probe"))
    parser.add_argument("--only", choices=TRUTH, help="one of the networks [all]")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in [options.only] if options.only else TRUTH:
        for labelled in (False, True):
            probed(name, labelled, options.faces, options.weights, options.out)
    rows = [row for path in sorted(options.out.glob("*.json")) for row in read_measurements(path)]
    write_rows(rows, HERE / "probe.jsonl")


def probed(name: str, labelled: bool, faces: Path, weights: Path, out: Path) -> None:
    """Probes one network and keeps its row: OUT/NAME-labels.json or OUT/NAME-no-labels.json."""
    path = out / f"{name}-{'labels' if labelled else 'no-labels'}.json"
    if path.is_file():
        return
    network, file = network_of(name, weights, out)
    if labelled:
        found = probe(network, file, pairs=faces / "lfw112" / "pairs.txt", progress=say)
    else:
        found = probe(network, file, faces=faces / "train112", progress=say)
    for sentence in found.sentences():
        say(sentence)
    write_measurements([row_of(name, labelled, found)], path)


def network_of(name: str, weights: Path, out: Path) -> tuple[str, Path | None]:
    """Gives what a network is called on the command line, and its weights."""
    if name == "relu6":
        return str(weights / "foreign_mobilefacenet_relu6.onnx"), None
    if name == "edgeface":
        return f"{HERE / 'edgeface.py'}:edgeface", weights / "edgeface_xxs.safetensors"
    factory, file = f"{FACTORIES}:insightface_y1", weights / "mobilefacenet_prelu.safetensors"
    if name == "prelu":
        return factory, file
    state = load_file(file)
    state["conv1.conv.weight"] = state["conv1.conv.weight"].flip(1).contiguous()
    save_file(state, out / "prelu_bgr.safetensors")
    return factory, out / "prelu_bgr.safetensors"


def row_of(name: str, labelled: bool, found: ProbeResult) -> Measurement:
    truth = TRUTH[name]
    right = found.contract is not None and contract_title(truth) in map(contract_title, (found.contract, *found.alike))
    behind = [each for each in found.tried if each.behind is not None]
    conditions = {
        "faces": "lfw112" if labelled else "train112",
        "labels": labelled,
        "truth": contract_title(truth),
        "named": "" if found.contract is None else contract_title(found.contract),
        "outcome": found.outcome,
        "ties": [contract_title(each.contract) for each in found.ties],
        "separation": found.tried[0].separation,
        "separation_of_pixels": found.pixels,
        "behind": None if not behind or behind[0].behind is None else behind[0].behind.value,
        "next": None if not behind else contract_title(behind[0].contract),
    }
    return Measurement(name, name, "", "", "", "", "probe_right", float(right), "1", conditions=conditions)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
