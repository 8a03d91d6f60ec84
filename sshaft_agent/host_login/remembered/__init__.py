"""Remembers approvals: for some hours, the same login from the same network needs no new one."""
