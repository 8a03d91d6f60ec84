"""Reads what an OpenID Provider publishes and answers: keys, tokens and the code flow. Imports only `sshaft`."""
