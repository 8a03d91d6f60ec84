"""Records terminals: asciicast files, written by threads, and what the person is told."""
