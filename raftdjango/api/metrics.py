"""The status of a node's groups in Prometheus' text format, without its client library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Samples = list[tuple[dict[str, str], float]]
"""Labels and values."""

GAUGES = {
    "term": "Current term.",
    "commit_index": "Last log index known to be committed.",
    "applied_index": "Last log index that the local database shows.",
    "last_index": "Last log index on this node.",
    "log_bytes": "What has been written to the log.",
    "log_disk_bytes": "Size of the log on disk, with the room that is kept free for what will come.",
    "cluster_time_ms": "Cluster time as this node estimates it.",
}
"""Numbers of `status`, exported where the status has them."""
TURN_GAUGES = {
    "waiting": "Blocks that wait for an exclusive turn or have it, at the leader.",
    "held": "Other nodes' proposals that the leader keeps until an exclusive turn is over.",
}
TURN_COUNTERS = {
    "granted": "Exclusive turns that this node has given as leader, since its start.",
    "timed_out": "Of those, ended because they took too long or their node fell silent.",
}
MEMBER_GAUGES = {
    "lag": "Entries by which a member is behind, as its leader knows it.",
    "match_index": "Last log index known to be on a member, as its leader knows it.",
    "last_contact_ms": "Milliseconds since a member was last heard of.",
}


def exposition(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """One page of metrics; `groups` maps names to their `status`."""
    lines: list[str] = []
    for name, text in GAUGES.items():
        lines.extend(_family(f"raftdjango_{name}", text, _numbers(groups, name)))
    leading: Samples = [
        ({"group": group}, int(facts.get("leader") == facts.get("node")))
        for group, facts in groups.items()
        if "node" in facts
    ]
    lines.extend(_family("raftdjango_is_leader", "1 where this node leads the group.", leading))
    known: Samples = [
        ({"group": group}, int(bool(facts.get("leader")))) for group, facts in groups.items()
    ]
    lines.extend(_family("raftdjango_has_leader", "1 while this node knows a leader.", known))
    turns = {group: facts["turns"] for group, facts in groups.items() if "turns" in facts}
    for name, text in TURN_GAUGES.items():
        lines.extend(_family(f"raftdjango_turns_{name}", text, _numbers(turns, name)))
    for name, text in TURN_COUNTERS.items():
        samples = _numbers(turns, name)
        lines.extend(_family(f"raftdjango_turns_{name}_total", text, samples, kind="counter"))
    for name, text in MEMBER_GAUGES.items():
        lines.extend(_family(f"raftdjango_member_{name}", text, _members(groups, name)))
    return "\n".join(lines) + "\n"


def _numbers(groups: Mapping[str, Mapping[str, Any]], name: str) -> Samples:
    return [
        ({"group": group}, facts[name])
        for group, facts in groups.items()
        if isinstance(facts.get(name), int | float)
    ]


def _members(groups: Mapping[str, Mapping[str, Any]], name: str) -> Samples:
    return [
        ({"group": group, "member": str(member["id"])}, member[name])
        for group, facts in groups.items()
        for member in facts.get("members", ())
        if isinstance(member.get(name), int | float)
    ]


def _family(name: str, text: str, samples: Samples, kind: str = "gauge") -> Iterator[str]:
    if not samples:
        return
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escape(given)}"' for label, given in labels.items())
        yield f"{name}{{{inside}}} {value}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
