"""Where things lie: the checkout, and the folder of real samples beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT.parent / "shared" / "data"
