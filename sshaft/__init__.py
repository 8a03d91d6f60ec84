"""Holds what the programs share. This module imports nothing, because the commands that sshd starts import it."""

__version__ = "0.1.0"
