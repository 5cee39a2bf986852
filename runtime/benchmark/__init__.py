"""Times what this machine can run: one frame after the other, and at the rates of cameras.

for row in benchmark(Path("model.trocar"), size=(1080, 1920)):
    print(row)
"""

from trocar.runtime.benchmark.at_rate import CAMERA_RATES, LiveRow, live_benchmark
from trocar.runtime.benchmark.speed import BenchmarkRow, benchmark

__all__ = ["CAMERA_RATES", "BenchmarkRow", "LiveRow", "benchmark", "live_benchmark"]
