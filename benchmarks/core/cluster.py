"""A cluster in one process: messages go through the codec from one core to the next."""

from __future__ import annotations

import random

from raftcore import Apply, Config, Entry, EntryKind, HardState, Membership, Persist, RaftCore, Send
from raftcore.codec import decode_message, encode_message
from raftcore.storage import MemoryLog

NAMES = "abcdefghi"


def log_of(count: int, size: int = 100) -> MemoryLog:
    """A log on its in-memory disk."""
    log = MemoryLog()
    data = bytes(size)
    log.append(HardState(1), [Entry(i, 1, EntryKind.COMMAND, 0, data) for i in range(1, count + 1)])
    return log


class Cluster:
    """Every effect is carried out at once; `applied` counts entries on all members."""

    def __init__(self, members: int, *, log_length: int = 0, codec: bool = True) -> None:
        self.names = NAMES[:members]
        self.codec = codec
        self.now_ms = 0
        self.applied = dict.fromkeys(self.names, 0)
        self.messages = 0
        self.disks = {name: log_of(log_length) for name in self.names}
        self.cores = {name: self._core(name) for name in self.names}
        leader = self.cores["a"]
        while leader.leader != "a":
            due = leader.next_timer()
            self.now_ms = max(self.now_ms, due if due is not None else 0)
            leader.handle_timer(self.now_ms)
            self.settle()
        self.leader = leader

    def _core(self, name: str) -> RaftCore:
        disk = self.disks[name]
        return RaftCore(
            Config(name, uncommitted_bytes_max=1 << 40),
            disk,
            hard_state=disk.hard_state,
            bootstrap=Membership(frozenset(self.names)),
            applied_index=disk.last_index,
            rng=random.Random(name),
            now_ms=0,
        )

    def settle(self) -> None:
        """Carry out effects until there are none."""
        while sum(self._turn(name) for name in self.names):
            pass

    def _turn(self, name: str) -> bool:
        core = self.cores[name]
        effects = core.take_effects()
        for effect in effects:
            # What leaves after a write leaves at once: the write before it is done by then.
            if isinstance(effect, Persist):
                self.disks[name].append(effect.hard_state, effect.entries)
                core.persisted(effect.ticket, self.now_ms)
            elif isinstance(effect, Send):
                self.messages += 1
                message = effect.message
                if self.codec:
                    message = decode_message(encode_message(message))
                self.cores[effect.to].receive(message, self.now_ms)
            elif isinstance(effect, Apply):
                self.applied[name] += len(effect.entries)
                core.applied(effect.entries[-1].index)
        return bool(effects)
