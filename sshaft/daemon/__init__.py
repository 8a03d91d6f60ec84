"""What programs that run until a signal share: messages to systemd, and metrics for Prometheus."""
