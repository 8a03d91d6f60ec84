"""`sshaft doctor` and `sshaft sshd-config`: find and avoid faults of sshd's host before the first login."""
