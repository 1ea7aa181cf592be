"""The rules: functions over a `Node`, each module with its part of the paper.

Who leads           election, priority, transfer, authority (does it lead still?)
The log             leader (append, replicate, commit), follower (receive)
Who takes part      reconfiguration, witness
Snapshots           compaction (take), snapshot_sending, snapshot_installing
Reads               reads

`core` calls them: on messages, on timers, and when effects are taken.
"""
