"""Reads the configuration files of other modules for device logins.

Each module of this package knows one format: a table of its members, and a function that returns our members. It opens
no file and knows nothing of a login.
"""
