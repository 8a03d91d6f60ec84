"""Creates, changes, locks and removes the local accounts of first logins. It is the only service that runs as root.

The agent asks it through a socket. Imports the standard library and `sshaft.messages` only.
"""
