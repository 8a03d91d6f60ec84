"""Examines the HTTP API of token login: `sshaft host-api`, its account, and its way to the agent and from clients."""
