"""Runs the service: the routes, the socket, the work in the background, the metrics and the health checks."""
