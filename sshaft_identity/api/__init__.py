"""Serves the JSON API to the agents beside sshd and to the applications that open challenges."""
