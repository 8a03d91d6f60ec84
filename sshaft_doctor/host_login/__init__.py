"""Examines host login: the PAM stack of sshd, sshd's settings for it, the module, the agent and the provider."""
