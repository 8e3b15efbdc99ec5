"""Where the data sets of some tests are: the folder that NGRPO_SHARED names, or the one beside the checkout."""

import os
from pathlib import Path

SHARED = Path(os.environ.get("NGRPO_SHARED", Path(__file__).parents[2] / "shared"))
