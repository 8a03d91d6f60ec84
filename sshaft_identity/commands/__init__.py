"""Defines the commands of `sshaft identity`."""
