"""The agent: runs beside sshd, and is the only process there that holds the client credentials."""
