"""The resident agent: the only process on the host of sshd that holds the client credentials."""
