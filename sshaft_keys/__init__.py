"""The AuthorizedKeysCommand. sshd runs it for every offered key, and once more for the key that signs."""
