"""The JSON API: for the agents beside sshd and for the applications that open challenges."""
