"""The AuthorizedKeysCommand: sshd asks it for every key that is offered, and once more for the one that signs."""
