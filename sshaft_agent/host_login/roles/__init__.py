"""Turns what the provider says of a person into rights on this host: local groups, shell and expiry."""
