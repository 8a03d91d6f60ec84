"""Sets a host up: `sshaft setup` asks what it should be, writes its configuration, and says what is left."""
