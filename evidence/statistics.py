"""The statistics against independent oracles, and whether intervals hold what they promise; rows lie beside as JSON.

    python evidence/statistics.py --faces FOLDER --weights FOLDER [--out runs/statistics] [--sets 300]

    oracles     ROC, AUC and EER against scikit-learn; the paired difference against SciPy's bootstrap, McNemar's test
                against its binomial test: metrics `..._largest_difference`, on constructed cases and on LFW
    protocol    ten-fold accuracy of both nets on the 6,000 pairs of LFW by InsightFace's algorithm, written anew in
                insightface_protocol.py, beside ours; one crop, and flip-sum (`flip` in the conditions)
    coverage    how often the 95 % interval holds the truth in simulated data (`coverage_...`; low and high: the Monte
                Carlo error), pairs independent and people who recur; and what ignoring that they recur would do

The folders are described in examples/lfw_relu6.toml. Takes about ten minutes of one core.
"""

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent

# Python looks for modules beside the script first, and this file bears the name of one of the standard library:
# whoever asks for `statistics`, here or in a script beside, gets that one.
beside = [folder for folder in sys.path if Path(folder or ".").resolve() == HERE.resolve()]
sys.path[:] = [folder for folder in sys.path if folder not in beside]
sys.modules.pop("statistics", None)
importlib.import_module("statistics")
sys.path[:0] = beside

if __name__ == "__main__":
    importlib.import_module("statistics_rows").main(__doc__, HERE / "statistics.json")
