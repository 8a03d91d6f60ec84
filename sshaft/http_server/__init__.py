"""What the programs that serve HTTP with uvicorn share: bounds on connections and requests, sockets, signals.

Only these programs import it: it needs uvicorn and httptools.
"""
