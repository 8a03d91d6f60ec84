"""Records what happened to challenges, keys and users, and seals the records in a chain of hashes."""
