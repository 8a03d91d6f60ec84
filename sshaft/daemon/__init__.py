"""What programs that run until a signal share: messages to systemd, UNIX sockets, and metrics for Prometheus."""
