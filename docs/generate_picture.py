"""Draws docs/report.png: the report of the network with ReLU6, from the rows of evidence/chain_lfw.py.

python docs/generate_picture.py

Needs `chromium` on the PATH; takes a few seconds.
"""

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from pocketface.benchmark.measurement import Measurement, write_measurements
from pocketface.benchmark.report.page import write_report

HERE = Path(__file__).parent
ROWS = HERE.parent / "evidence" / "chain_lfw.jsonl"


def main() -> None:
    """Writes the report of the rows into a temporary folder and takes a picture of its top."""
    rows = [Measurement(**json.loads(line)) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    with TemporaryDirectory() as name:
        folder = Path(name) / "mobilefacenet-relu6"
        folder.mkdir()
        write_measurements([row for row in rows if "relu6" in row.model], folder / "measurements.json")
        page, _ = write_report([folder], folder)
        picture = ["--window-size=1280,1500", "--hide-scrollbars", f"--screenshot={HERE / 'report.png'}"]
        subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", *picture, page.as_uri()], check=True)


if __name__ == "__main__":
    main()
