"""What importing this package costs, over what its parts cost alone.

Each line is a fresh interpreter, run in turn with the others so that a busy machine disturbs all alike; medians of
wall-clock milliseconds over the bare interpreter, and the resident memory. The budget is the difference between the
last two lines: at most 45 ms. Usage: scripts/bench import [rounds]
"""

import compileall
import os
import statistics
import subprocess
import sys
from pathlib import Path

BASELINE = "import awscrt.mqtt5; from pydantic import BaseModel, Field, SecretStr"
CASES = {
    "python alone": "",
    "the authorizer package": "import iot_customauth_client.authorizer as a; a.allow",
    "awscrt.mqtt5": "import awscrt.mqtt5",
    "awscrt.mqtt5 and pydantic's names": BASELINE,
    "the same, then connect, Credentials, ConnectionSettings": (
        BASELINE + "; import iot_customauth_client as i; i.connect, i.Credentials, i.ConnectionSettings"
    ),
}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
MEASURE = """
import resource, time
began = time.perf_counter()
{code}
print((time.perf_counter() - began) * 1000, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measure(code: str) -> tuple[float, float]:
    command = [sys.executable, "-c", MEASURE.format(code=code)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout
    milliseconds, mebibytes = map(float, output.split())
    return milliseconds, mebibytes


def take_samples(rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Measure every case in turn."""
    # As after `pip install`, which compiles what it installs.
    compileall.compile_dir(Path(__file__).parent.parent / "iot_customauth_client", quiet=1)
    for code in CASES.values():
        measure(code)  # warm the file cache
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, code in CASES.items():
            samples[name].append(measure(code))
    return samples


def extra_milliseconds(rounds: int) -> float:
    """What this package adds to awscrt.mqtt5 and pydantic's names."""
    return extra_of(take_samples(rounds))


def extra_of(samples: dict[str, list[tuple[float, float]]]) -> float:
    baseline, ours = list(samples.values())[-2:]
    return statistics.median(mine[0] - base[0] for mine, base in zip(ours, baseline, strict=True))


def main(rounds: int) -> None:
    samples = take_samples(rounds)
    print(f"{'import':<58}{'ms':>8}{'MiB':>8}   (medians of {rounds})")
    for name, values in samples.items():
        times, sizes = zip(*values, strict=True)
        print(f"{name:<58}{statistics.median(times):>8.1f}{statistics.median(sizes):>8.1f}")
    print(f"this package over awscrt.mqtt5 and pydantic's names: {extra_of(samples):.1f} ms (budget: 45 ms)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
