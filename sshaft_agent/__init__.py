"""The agent runs beside sshd. No other process there holds the client credentials."""
