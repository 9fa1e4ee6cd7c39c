"""Fills the tables of docs/results.md and README.md from the rows in evidence/.

python docs/generate_results.py

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; a test checks that both are up to date.
"""

import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Cells = list[list[str]]

HERE = Path(__file__).parent
PAGES = (HERE / "results.md", HERE.parent / "README.md")
USUAL: Row = {"low": None, "high": None, "n": None, "valid": True, "reason": ""}  # what rows leave out
CORES = ("a53", "a55", "a76")
TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


@cache
def rows_of(script: str) -> tuple[Row, ...]:
    """Reads the rows that a script of evidence/ wrote."""
    text = (HERE.parent / "evidence" / f"{script}.jsonl").read_text(encoding="utf-8")
    return tuple({**USUAL, **json.loads(line)} for line in text.splitlines())


def find(rows: Iterable[Row], metric: str, **wanted: object) -> list[Row]:
    """Gives the rows of a metric whose fields, or else conditions, have the values that are named."""
    return [
        row
        for row in rows
        if row["metric"] == metric
        and all((row[key] if key in row else row["conditions"].get(key)) == value for key, value in wanted.items())
    ]


def value(rows: Iterable[Row], metric: str, **wanted: object) -> float | None:
    """Gives the value of the only row of a metric, or None where there is none or it is not valid."""
    found = [row for row in find(rows, metric, **wanted) if row["valid"]]
    return found[0]["value"] if found else None


def number(amount: float | None, form: str, unit: str = "") -> str:
    """Formats a number, or a dash where there is none."""
    return "–" if amount is None else f"{amount:{form}}{unit}"


def span(row: Row) -> str:
    """Formats a difference of accuracy and its 95 % interval, in percentage points."""
    return f"{100 * row['value']:+.2f} [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]"


def files(rows: list[Row], baselines: dict[str, list[Row]], verdict: bool) -> Cells:
    """Makes a row of cells for each file; latency and instructions are relative to the baseline of its network."""
    table = []
    for artifact in dict.fromkeys(row["artifact"] for row in rows):
        own = [row for row in rows if row["artifact"] == artifact]
        base = baselines[own[0]["model"].partition("-pruned")[0]]
        usual = next(row["runtime"] for row in own if row["metric"] == "verification_accuracy")
        latency = value(own, "latency_ms_p50", threads=1, runtime=usual)
        reference = value(base, "latency_ms_p50", threads=1, runtime="litert")
        counts = [value(own, "arm64_instructions", runtime=f"litert-arm64-{core}") for core in CORES]
        counts_before = [value(base, "arm64_instructions", runtime=f"litert-arm64-{core}") for core in CORES]
        shares = [
            f"{count / before:.2f}"
            for count, before in zip(counts, counts_before, strict=True)
            if count is not None and before is not None
        ]
        size, accuracy = value(own, "size_bytes"), value(own, "verification_accuracy")
        difference = find(own, "accuracy_difference")[0]
        cells = [
            Path(artifact).name.removeprefix("mobilefacenet-"),
            number(size and size / 1e6, ".2f", " MB"),
            number(latency and reference and latency / reference, ".2f"),
            ", ".join(shares) or "–",
            number(accuracy and 100 * accuracy, ".2f", " %"),
            span(difference),
        ]
        table.append([*cells, difference["conditions"].get("verdict", "") if verdict else cosine(own)])
    return table


def cosine(rows: list[Row]) -> str:
    """Formats the mean cosine to the embeddings of the source."""
    return number(value(rows, "embedding_cosine_mean"), ".4f")


def exported(calibration: str) -> Cells:
    """Two networks in every format, the int8 ranges set by the faces that are named."""
    rows = [
        row
        for row in rows_of("export_lfw")
        if row["conditions"].get("calibration") == calibration and row["artifact"].startswith("artifacts/")
    ]
    baselines = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        baselines[model] = [row for row in rows if row["artifact"].endswith(f"/{model}.tflite")]
    titles = ["file", "size", "latency", "instructions", "accuracy", "difference", "cosine"]
    return [titles, *files(rows, baselines, verdict=False)]


def chain() -> Cells:
    """Two networks pruned to 0.70 M parameters, compared with the unpruned source."""
    rows = list(rows_of("chain_lfw"))
    baselines = {}
    for model in ("mobilefacenet-relu6", "mobilefacenet-prelu"):
        baselines[model] = [row for row in rows if row["artifact"].endswith(f"/{model}.tflite")]
    pruned = [row for row in rows if "-pruned" in row["model"] and row["artifact"].startswith("artifacts/")]
    titles = ["file", "size", "latency", "instructions", "accuracy", "difference", "verdict"]
    return [titles, *files(pruned, baselines, verdict=True)]


def summary() -> Cells:
    """A few files of the network with ReLU6, for README.md."""
    wanted = ("relu6.tflite", "relu6.w8.tflite", "relu6.w8a8.tflite", "relu6.w8.mlpackage")
    titles, *unpruned = exported("train112")
    pruned = [row for row in chain() if row[0] == "relu6-pruned-0.70M.w8a8.tflite"]
    rows = [row for row in unpruned if row[0] in wanted] + pruned
    return [[*titles[:3], *titles[4:6]], *([*row[:3], *row[4:6]] for row in rows)]


def criteria() -> Cells:
    """Accuracy right after a cut, and after learning back."""
    rows = rows_of("prune_lfw")
    names = ("gauss-newton", "taylor", "l1", "feature-map", "random")
    table = [["parameters", *names]]
    for size in (850_000, 700_000, 500_000, 400_000):
        cells = [f"{size / 1e6:.2f} M"]
        for name in names:
            own = find(rows, "verification_accuracy", criterion=name, schedule="stepwise")
            near = [row for row in own if 0.98 * size <= row["conditions"]["parameters"] <= size]
            before, after = (
                next(row["value"] for row in near if row["conditions"]["recovered"] is recovered)
                for recovered in (False, True)
            )
            cells.append(f"{100 * before:.2f} → {100 * after:.2f} %")
        table.append(cells)
    return table


def long_recovery() -> Cells:
    """The default criterion with more time."""
    titles = ["parameters", "MACs", "epochs", "scores divided by", "accuracy", "difference"]
    table = [titles]
    rows = rows_of("prune_lfw")
    for row in find(rows, "verification_accuracy", schedule="long"):
        how = row["conditions"]
        lost = find(rows, "accuracy_difference", schedule="long", parameters=how["parameters"], macs=how["macs"])[0]
        accuracy = f"{100 * row['value']:.2f} % [{100 * row['low']:.2f}, {100 * row['high']:.2f}]"
        size = [f"{how['parameters']:,}", f"{how['macs'] / 1e6:.0f} M", f"{how['epochs']:g}"]
        table.append([*size, how["cost"], accuracy, span(lost)])
    return table


def budgets() -> Cells:
    """A budget of time and budgets of MACs that give the same latency."""
    table = [["share of the latency", "budget", "parameters", "MACs", "latency", "right after the cut", "recovered"]]
    accuracies = find(rows_of("prune_time_budget"), "verification_accuracy")
    for row in (row for row in accuracies if not row["conditions"]["recovered"]):
        how = row["conditions"]
        same = dict(share=how["share"], budget=how["budget"], recovered=True)
        after = find(accuracies, "verification_accuracy", **same)[0]
        table.append(
            [
                str(how["share"]),
                how["budget"],
                f"{how['parameters']:,}",
                f"{how['macs'] / 1e6:.0f} M",
                f"{how['fastest_ms']:.2f} ms",
                f"{100 * row['value']:.2f} %",
                f"{100 * after['value']:.2f} %",
            ]
        )
    return table


def converters() -> Cells:
    """Three converters and two networks."""
    titles = ["network", "precision", "converter", "latency", "XNNPACK partitions", "size"]
    table = [[*titles, "cosine, mean and least", "conversion", "memory"]]
    rows = rows_of("converters")
    for row in find(rows, "conversion_s"):
        key = {"model": row["model"], "precision": row["precision"], "converter": row["conditions"]["converter"]}
        cells = [row["model"].removeprefix("mobilefacenet-"), row["precision"], key["converter"]]
        size, memory = value(rows, "size_bytes", **key), value(rows, "conversion_peak_memory_bytes", **key)
        mean, least = value(rows, "parity_cosine_mean", **key), value(rows, "parity_cosine_min", **key)
        table.append(
            [
                *cells,
                number(value(rows, "latency_ms_p50", **key), ".1f", " ms"),
                number(value(rows, "xnnpack_partitions", **key), ".0f"),
                number(size and size / 1e6, ".2f", " MB"),
                f"{number(mean, '.3f')}, {number(least, '.3f')}",
                number(row["value"], ".1f", " s"),
                number(memory and memory / 1e9, ".2f", " GB"),
            ]
        )
    return table


def agreement() -> Cells:
    """Our latencies and those of other tools."""
    table = [["file", "other tool", "ours", "theirs", "theirs / ours"]]
    rows = rows_of("latency_agreement")
    for row in find(rows, "agreement_ratio"):
        file, tool = row["artifact"], row["conditions"]["tool"]
        ours = next(own for own in find(rows, "latency_ms_p50", artifact=file) if "tool" not in own["conditions"])
        theirs = value(rows, "latency_ms_p50", artifact=file, tool=tool)
        ratio = f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        table.append([file, tool, number(ours["value"], ".2f", " ms"), number(theirs, ".2f", " ms"), ratio])
    return table


def coverage() -> Cells:
    """How often 95 % intervals contain the truth."""
    metrics = ("accuracy", "accuracy_difference", "eer", "tar_at_far_1e-1", "tar_at_far_1e-1_difference")
    metrics += ("tar_at_far_1e-2", "tar_at_far_1e-2_difference")
    table = [["simulated pairs", "pairs", "folds", *metrics]]
    rows = rows_of("interval_coverage")
    kinds = [(row["model"], row["conditions"]["pairs"], row["conditions"]["folds"]) for row in rows]
    for model, pairs, folds in dict.fromkeys(kinds):
        found = {metric: find(rows, f"coverage_{metric}", model=model, pairs=pairs, folds=folds) for metric in metrics}
        shares = [number(of[0]["value"], ".3f") if of else "" for of in found.values()]
        table.append([model.removeprefix("simulation: "), f"{pairs:,}", str(folds), *shares])
    return table


def protocol() -> Cells:
    """Ten-fold accuracy by our protocol and by InsightFace's."""
    table = [["network", "faces", "pocketface", "InsightFace's algorithm", "on a finer grid"]]
    rows = rows_of("verification_statistics")
    for network in ("mobilefacenet-prelu", "mobilefacenet-relu6"):
        for flip in (False, True):
            ours, theirs, finer = (
                value(rows, "verification_accuracy", model=f"{network}: {whose}", flip=flip)
                for whose in (
                    "pocketface",
                    "insightface's algorithm, re-written",
                    "insightface's algorithm, re-written, on a finer grid",
                )
            )
            faces = "with the mirror image" if flip else "one crop"
            table.append(
                [network, faces, *(number(share and 100 * share, ".2f", " %") for share in (ours, theirs, finer))]
            )
    return table


def evaluation() -> Cells:
    """Seconds and memory of an evaluation."""
    table = [["pairs", "code", "seconds (least, most)", "CPU seconds", "peak memory", "computes"]]
    rows = rows_of("evaluation_speed")
    for row in find(rows, "evaluation_s"):
        memory = value(rows, "peak_memory_bytes", model=row["model"], n=row["n"])
        seconds = f"{row['value']:.2f} ({row['low']:.2f}, {row['high']:.2f})"
        code = row["model"].replace("re-written", "rewritten")
        cells = [f"{row['n']:,}", code, seconds, f"{row['conditions']['cpu_s']:.2f}"]
        table.append([*cells, number(memory and memory / 1e6, ".0f", " MB"), row["conditions"]["includes"]])
    return table


def phones() -> Cells:
    """The error of a latency that is predicted from counts, by phone."""
    table = [["phone", "from MACs", "from A53 instructions", "from A76 instructions"]]
    rows = find(rows_of("arm64_phones"), "left_out_error_worst")
    for phone in dict.fromkeys(row["device"] for row in rows):
        sources = ("macs", "arm64_instructions, a53", "arm64_instructions, a76")
        worst = [value(rows, "left_out_error_worst", device=phone, told_by=source) for source in sources]
        table.append([phone, *(number(error and 100 * error, ".0f", " %") for error in worst)])
    return table


def layers() -> Cells:
    """Rank correlation of the share of filters removed with width and depth."""
    table = [["method", "network and faces", "with width", "with depth"]]
    rows = rows_of("prune_findings")
    for row in find(rows, "rank_correlation_removed_width"):
        how = {"model": row["model"], "finding": row["conditions"]["finding"]}
        found = [find(rows, f"rank_correlation_removed_{by}", **how)[0] for by in ("width", "depth")]
        cells = [
            f"{own['value']:.2f} (p = {own['conditions']['p']:.2g})" if own["valid"] else own["reason"] for own in found
        ]
        method = {"width": "Taylor, each epoch", "depth": "feature maps, at once"}[how["finding"]]
        table.append([method, f"{row['model']}, {row['conditions']['faces']}", *cells])
    return table


def costs() -> Cells:
    """Times of the parts of pruning."""
    table = [["what", "median", "of", "beside"]]
    for row in rows_of("prune_cost"):
        how = row["conditions"]
        beside = [f"{key} {how[key]}" for key in ("tool", "criterion", "aim") if key in how]
        form = ".3f" if row["unit"] == "1" else ".0f"
        unit = "" if row["unit"] == "1" else f" {row['unit']}"
        table.append([row["metric"], number(row["value"], form, unit), str(row["n"]), ", ".join(beside)])
    return table


def alignment() -> Cells:
    """The cosine that a wrong cut leaves, median and lowest tenth."""
    rows = rows_of("alignment")
    networks = list(dict.fromkeys(row["model"] for row in rows))
    table = [["cut", *networks]]
    for cut in dict.fromkeys(row["conditions"]["cut"] for row in rows):
        found = [find(rows, "alignment_cosine", model=network, cut=cut)[0] for network in networks]
        table.append([cut, *(f"{row['value']:.3f} ({row['conditions']['lowest_tenth']:.3f})" for row in found)])
    return table


TABLES: dict[str, Callable[[], Cells]] = {
    "summary": summary,
    "export": lambda: exported("train112"),
    "export-rendered": lambda: exported("synthetic"),
    "chain": chain,
    "criteria": criteria,
    "long-recovery": long_recovery,
    "budgets": budgets,
    "converters": converters,
    "agreement": agreement,
    "coverage": coverage,
    "protocol": protocol,
    "evaluation": evaluation,
    "phones": phones,
    "layers": layers,
    "costs": costs,
    "alignment": alignment,
}


def filled(page: str) -> str:
    """Gives the page with every table anew."""

    def fill(match: re.Match[str]) -> str:
        titles, *rows = TABLES[match[2]]()
        lines = [titles, ["---"] * len(titles), *rows]
        return match[1] + "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + match[3]

    return TABLE.sub(fill, page)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
