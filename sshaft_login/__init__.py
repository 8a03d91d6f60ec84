"""The forced command. sshd runs it after the key has signed."""
