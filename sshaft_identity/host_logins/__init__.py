"""Open sessions and remembered approvals of people at hosts: what the hosts report, and what must end there."""
