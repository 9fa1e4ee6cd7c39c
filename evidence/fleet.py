"""A fleet of architectures through the chain: two published MobileFaceNets, EdgeFace, the zoo, and small networks of
timm and torchvision, each as PyTorch and as the ONNX files that torch's two exporters write of it.

    python evidence/fleet.py --weights FOLDER [--networks NAME ...] [--origins ORIGIN ...] [--out runs/fleet]

Run it from the repository root. A cell is a network and its origin: "pytorch", or an exporter and an opset, such as
"legacy-13". Each runs in a process of its own for at most `LIMIT` seconds, from half a minute to two; all of them take
hours on one core, so it resumes, and tells after each cell how it went. FOLDER holds the weights that the table names.
Writes evidence/fleet.jsonl with every cell that was ever run, and prints the table.

The networks of timm and torchvision have fresh weights, "awakened" (see fleet_networks.py), and a linear head of 128;
faces are rendered, 112x112. The ONNX files are of
the networks as they are, the branches of RepVGG and its like included. So this shows that files are right, not that
networks are accurate: the cosine of an int8 file of such weights is no forecast of a trained one's.

| row | what it holds |
| --- | --- |
| `largest_difference` | of an fp32 file's unit embeddings to PyTorch's, or onnxruntime's of the ONNX file |
| `parity_cosine_mean` | of the w8a8 TFLite file's; with origin "pytorch" only |
| `xnnpack_partitions` | of a TFLite file |
| `import_difference` | of the ONNX file read as a PyTorch network; legacy-17 and dynamo-18 only |
| `pruned_share` | of the parameters, of a quarter asked; pytorch only |
| `reload_difference` | of the pruned network, saved and read back |
| `pruned_largest_difference` | of the pruned network's TFLite file to the pruned network |
| `exportable` | that torch itself cannot write the ONNX file, and why; such a cell does not count |
| `cell_s` | what the cell took, in seconds |

Core ML files are made of the origins "pytorch", "legacy-17" and "dynamo-18".
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from fleet_networks import FLEET
from rich.console import Console
from rich.table import Table
from rows import read_rows, write_rows

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement
from pocketface.children import last_line, run_child

HERE = Path(__file__).parent
ROWS = HERE / "fleet.jsonl"
ORIGINS = (
    *("pytorch", "legacy-17", "dynamo-18", "legacy-13", "legacy-11", "legacy-20"),
    *("dynamo-17", "dynamo-13", "dynamo-11", "dynamo-23"),
)
"""In the order in which they run; 20 and 23 are the newest that torch 2.13 writes."""
LIMIT = 600  # seconds of a cell
LARGEST = 1e-5  # of unit embeddings: what a cell that converts stays below


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", choices=FLEET, default=list(FLEET), metavar="NAME")
    parser.add_argument("--origins", nargs="+", choices=ORIGINS, default=list(ORIGINS), metavar="ORIGIN")
    parser.add_argument("--out", type=Path, default=Path("runs/fleet"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for origin in options.origins:
        for network in options.networks:
            done = options.out / f"{network}.{origin}.jsonl"
            if not done.is_file():
                run_cell(network, origin, options.weights, done)
                print(f"{network} {origin}: {sentence_of(read_rows(done))}", flush=True)
    known = {(network, origin) for network in FLEET for origin in ORIGINS}
    ran = [options.out / f"{network}.{origin}.jsonl" for network, origin in sorted(known)]
    rows = [row for path in ran if path.is_file() for row in read_rows(path)]
    write_rows(rows, ROWS)
    print_table(rows)


def run_cell(network: str, origin: str, weights: Path, done: Path) -> None:
    """Runs one cell in a process of its own; what it does not survive is a row with the reason."""
    command = [sys.executable, HERE / "fleet_cell.py", network, origin, "--weights", weights, "--out", done]
    try:
        process = run_child(command, timeout=LIMIT)
        reason = "" if process.returncode == 0 else last_line(process)
    except subprocess.TimeoutExpired:
        reason = f"it takes more than {LIMIT} s"
    if reason:
        where = {"origin": origin}
        kept = (network, "", "pytorch", "fp32", "", device_name(), "cell_s", None, "s")
        write_rows([Measurement(*kept, valid=False, reason=reason, conditions=where)], done)


def sentence_of(rows: list[Measurement]) -> str:
    """Gives the result of a cell in one sentence."""
    if reasons := [f"{row.metric}: {row.reason}" for row in rows if not row.valid]:
        return "; ".join(reasons)
    worst = max((row.value or 0.0 for row in rows if row.metric == "largest_difference"), default=0.0)
    return f"files differ by at most {worst:.1e}, {rows[-1].value:.0f} s"


def print_table(rows: Iterable[Measurement]) -> None:
    """Prints a line per network, and how many of all cells convert."""
    cells: dict[tuple[str, str], list[Measurement]] = {}
    for row in rows:
        cells.setdefault((row.model, str(row.conditions["origin"])), []).append(row)
    table = Table("network", "tflite", "coreml", "import", "pruned", "w8a8", "pieces", "refused", box=None)
    for network in dict.fromkeys(name for name, _ in cells):
        own = [row for (name, _), found in cells.items() if name == network for row in found]
        refused = [
            f"{row.conditions['origin']} {row.metric} ({row.format}): {row.reason}" for row in own if not row.valid
        ]
        refused = [line for line in refused if "exportable" not in line]
        table.add_row(
            network,
            f"{passed(cells, network, 'tflite')} {figure(own, 'largest_difference', 'tflite')}",
            f"{passed(cells, network, 'coreml')} {figure(own, 'largest_difference', 'coreml')}",
            figure(own, "import_difference"),
            f"{figure(own, 'pruned_share', form='.0%')} {figure(own, 'pruned_largest_difference')}",
            figure(own, "parity_cosine_mean", form=".3f"),
            figure(own, "xnnpack_partitions", form=".0f"),
            f"{len(refused)}: {refused[0]}" if refused else "",
        )
    Console(width=200).print(table)
    counted = [found for found in cells.values() if all(row.metric != "exportable" for row in found)]
    whole = sum(converts(found) for found in counted)
    print(f"{whole} of {len(counted)} cells convert to every format; {len(cells) - len(counted)} torch cannot export")


def converts(cell: list[Measurement]) -> bool:
    """Says whether each fp32 file of a cell was made and is near enough to its source."""
    rows = [row for row in cell if row.metric == "largest_difference" or (row.metric == "cell_s" and not row.valid)]
    return all(row.valid and (row.value or 0.0) <= LARGEST for row in rows)


def passed(cells: dict[tuple[str, str], list[Measurement]], network: str, format: str) -> str:
    """Gives "5/6": of how many origins there is a right file."""
    rows = [
        row
        for (name, _), found in cells.items()
        if name == network
        for row in found
        if (row.format, row.metric) == (format, "largest_difference")
    ]
    return f"{sum(converts([row]) for row in rows)}/{len(rows)}"


def figure(rows: list[Measurement], metric: str, format: str = "", form: str = ".0e") -> str:
    """Gives the largest value of a metric; of a cosine the only one."""
    values = [
        row.value for row in rows if row.metric == metric and row.value is not None and format in ("", row.format)
    ]
    return f"{max(values):{form}}" if values else "-"


if __name__ == "__main__":
    main()
