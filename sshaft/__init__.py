"""The vocabulary that the programs share. Imports nothing: the commands that sshd starts come through here."""

__version__ = "0.1.0"
