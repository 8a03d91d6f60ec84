"""Files of a host that several programs read."""
