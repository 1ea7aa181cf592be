"""One measurement: some writers on one system for some seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.processes import cpu_s
from benchmarks.systems import ROOT, System


@dataclass(frozen=True)
class Case:
    """What is measured."""

    workload: str
    placement: str
    writers: int


@dataclass(frozen=True)
class Measurement:
    """What came out.  Rates count rows, latencies calls."""

    system: str
    case: Case
    rows_per_s: float
    p50_ms: float
    p99_ms: float
    writer_cpu_us: float
    """CPU of the writer processes per row."""
    server_cpu_us: dict[str, float]
    """CPU of each server process per row."""
    syncs_per_entry: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def line(self) -> str:
        """For people who wait."""
        case = self.case
        return (
            f"{self.system:10} {case.workload:7} {case.placement or '-':9} {case.writers:3} writers"
            f" {self.rows_per_s:9.0f} rows/s  p50 {self.p50_ms:7.2f} ms  p99 {self.p99_ms:7.2f} ms"
        )


def measure(system: System, case: Case, seconds: float) -> Measurement:
    """Run `case` on `system`, all writers starting at the same moment."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.writer", case.workload, str(n), str(seconds)],
            env=system.environment(system.node_of(case.placement, n)),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(case.writers)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            if writer.stdout.readline() != "ready\n":
                raise RuntimeError(f"A writer of {system.name} failed to start.")
        cpu_before = {name: cpu_s(process.pid) for name, process in system.processes.items()}
        counters_before = system.counters()
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        reports = [json.loads(writer.communicate()[0]) for writer in writers]
        cpu_after = {name: cpu_s(process.pid) for name, process in system.processes.items()}
        counters = {k: v - counters_before[k] for k, v in system.counters().items()}
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    rows = sum(report["rows"] for report in reports)
    latencies = sorted(latency for report in reports for latency in report["latencies_s"])
    return Measurement(
        system=system.name,
        case=case,
        rows_per_s=sum(report["rows"] / report["elapsed_s"] for report in reports),
        p50_ms=latencies[len(latencies) // 2] * 1000,
        p99_ms=latencies[len(latencies) * 99 // 100] * 1000,
        writer_cpu_us=sum(report["cpu_s"] for report in reports) / rows * 1e6,
        server_cpu_us={n: (cpu_after[n] - cpu_before[n]) / rows * 1e6 for n in cpu_after},
        syncs_per_entry=(
            counters["log_syncs"] / counters["commit_index"]
            if counters.get("commit_index")
            else None
        ),
    )
