"""The SSH factor in the agent: finds the key line for sshd, forwards accept and reject to the identity service."""
