"""Django's own tests on a live cluster: three raftnode processes, and `runtests.py` as a web worker of one."""
