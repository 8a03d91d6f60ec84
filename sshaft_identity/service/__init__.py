"""The running service: its routes, its socket, the work in the background, metrics and health."""
