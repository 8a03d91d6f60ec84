"""The forced command: what sshd runs once the key has signed."""
