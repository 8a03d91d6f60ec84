"""Finds key lines for sshd, and forwards the person's accept and reject to the identity service."""
