"""Runs all of sshaft on loopback with the real programs, for `sshaft demo` and the end-to-end tests."""
