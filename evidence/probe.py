"""Whether `pocketface probe` names the contract that trained networks want, with and without labels.

    python evidence/probe.py --faces FOLDER --weights FOLDER [--out runs/probe] [--only NETWORK]

Run it from the repository root; it takes about ten minutes on one core, a few more with the photos, and resumes after
a kill. The folders are described in examples/lfw_relu6.toml; `raw_lfw` in the one of faces holds photos, and
`yunet_n.onnx` lies among the weights. Writes evidence/probe.jsonl.

Three trained networks whose authors say what they are fed, and one that sees blue for red: the PReLU network with the
channels of its first convolution in the other order, which is what a network that was trained on BGR is. Each is given
without a contract; with labels on LFW's pairs, without on faces of `train112`. How faces are altered there, how many
are looked at, and when the answer is "not sure" was chosen on `train112`. A first way to draw pairs where there are
labels left relu6 on LFW in a tie with the wrong contract first; the way that replaced it was chosen on `extra112`.

How faces are to be cut is tried on 60 photos, with the three networks, and with relu6 behind two layers that cut the
middle 80 % out of its input: a network that wants looser crops. The templates that are tried were chosen before.

Rows: `probe_right` is 1 where the contract that is named first is the network's own, or gives it nearly the same
numbers; conditions say what was named, what it could not be told from, and the separations. `crop_right` is 1 where
the cut that is named first is the network's own; conditions say by how much each other separates less.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
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
CROPS = {"relu6": "arcface", "relu6-looser": "arcface-80", "prelu": "arcface", "edgeface": "arcface"}
"""The template that each network's faces are cut by."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/probe"))
    parser.add_argument("--only", choices=[*TRUTH, *CROPS], help="one of the networks [all]")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in TRUTH:
        for labelled in (False, True):
            if options.only in (None, name):
                probed(name, labelled, options.faces, options.weights, options.out)
    for name in CROPS:
        if options.only in (None, name):
            cut(name, options.faces, options.weights, options.out)
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


def cut(name: str, faces: Path, weights: Path, out: Path) -> None:
    """Tries on photos how the faces of one network are cut, and keeps its row: OUT/NAME-photos.json."""
    path = out / f"{name}-photos.json"
    if path.is_file():
        return
    network, file = network_of(name, weights, out)
    found = probe(network, file, faces=faces / "raw_lfw", detector=weights / "yunet_n.onnx", progress=say)
    for sentence in found.sentences():
        say(sentence)
    best, *others = found.cuts
    conditions = {
        "faces": "raw_lfw",
        "labels": False,
        "truth": CROPS[name],
        "named": best.name,
        "contract": "" if found.contract is None else contract_title(found.contract),
        "separation": best.separation,
        "behind": {each.name: each.behind.value for each in others if each.behind is not None},
    }
    right = float(best.template == CROPS[name])
    write_measurements([Measurement(name, name, "", "", "", "", "crop_right", right, "1", conditions=conditions)], path)


def looser(network: Path, path: Path) -> Path:
    """Writes an .onnx network behind two layers that cut the middle 80 % out of its input."""
    model = onnx.load(network)
    graph, face = model.graph, model.graph.input[0].name
    for node in graph.node:
        node.input[:] = ["middle" if name == face else name for name in node.input]
    constants = {"start": [11, 11], "end": [101, 101], "axes": [2, 3], "sizes": [1, 3, 112, 112]}
    graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in constants.items())
    inner = [
        helper.make_node("Slice", [face, "start", "end", "axes"], ["cut"]),
        helper.make_node("Resize", ["cut", "", "", "sizes"], ["middle"], mode="linear"),
    ]
    nodes = [*inner, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)
    return path


def network_of(name: str, weights: Path, out: Path) -> tuple[str, Path | None]:
    """Gives what a network is called on the command line, and its weights."""
    if name == "relu6":
        return str(weights / "foreign_mobilefacenet_relu6.onnx"), None
    if name == "relu6-looser":
        return str(looser(weights / "foreign_mobilefacenet_relu6.onnx", out / "relu6_looser.onnx")), None
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
