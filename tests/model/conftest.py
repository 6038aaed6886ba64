"""The comparisons with real nodes use the same network in memory as the nodes' own tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "node"))
