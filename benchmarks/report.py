"""The table at the end: medians over the rounds, and the ratio to PostgreSQL."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from benchmarks.run import Measurement

REFERENCE = "postgresql"


def table(measurements: list[Measurement]) -> str:
    """Markdown: one row a case and system."""
    groups: dict[tuple[str, int, str, str], list[Measurement]] = defaultdict(list)
    for m in measurements:
        groups[m.case.workload, m.case.writers, m.system, m.case.placement].append(m)
    rates = {key: median(m.rows_per_s for m in group) for key, group in groups.items()}
    lines = [
        "| workload | writers | system | rows/s | x PostgreSQL | p50 ms | p99 ms "
        "| CPU us/row: writers | servers | fsyncs/entry |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (workload, writers, system, placement), group in groups.items():
        reference = rates.get((workload, writers, REFERENCE, ""))
        rate = rates[workload, writers, system, placement]
        servers = " + ".join(
            f"{median(m.server_cpu_us[name] for m in group):.0f}" for name in group[0].server_cpu_us
        )
        syncs = [m.syncs_per_entry for m in group if m.syncs_per_entry is not None]
        cells = (
            workload,
            str(writers),
            f"{system} {placement}".strip(),
            f"{rate:.0f}",
            f"{rate / reference:.2f}" if reference else "",
            f"{median(m.p50_ms for m in group):.2f}",
            f"{median(m.p99_ms for m in group):.2f}",
            f"{median(m.writer_cpu_us for m in group):.0f}",
            servers,
            f"{median(syncs):.2f}" if syncs else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
