"""The process that renders a share of many synthetic faces: `python -m` with the share as JSON, and where to put it."""

from __future__ import annotations

import json
import sys

import numpy as np

from ...freed_memory import keep_freed_memory
from .synthetic import Crowd, render_crowd

if __name__ == "__main__":
    keep_freed_memory()
    np.save(sys.argv[2], render_crowd(Crowd(**json.loads(sys.argv[1]))))
