"""Gives a name that the host does not know an account: a reserved uid, and `sshaft-accounts` after the approval."""
