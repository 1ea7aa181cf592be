"""A project with two replicated databases and a plain one."""
