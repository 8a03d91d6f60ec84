"""`sshaft doctor` and `sshaft sshd-config`: what the host of sshd must be like, looked at before a login shows it."""
