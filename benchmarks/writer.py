"""A writer process: says `ready`, waits for a line, writes for some seconds, prints JSON."""

from __future__ import annotations

import json
import resource
import sys
import time

import django

from benchmarks.workloads import WORKLOADS


def cpu_s() -> float:
    """CPU seconds that this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    workload, owner, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    django.setup()
    step = WORKLOADS[workload](owner)
    step(0)
    print("ready", flush=True)
    sys.stdin.readline()
    latencies_s, rows, n = [], 0, 0
    cpu, end = cpu_s(), time.perf_counter() + seconds
    started = before = time.perf_counter()
    while before < end:
        n += 1
        rows += step(n)
        after = time.perf_counter()
        latencies_s.append(after - before)
        before = after
    report = {
        "elapsed_s": before - started,
        "cpu_s": cpu_s() - cpu,
        "rows": rows,
        "latencies_s": latencies_s,
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
