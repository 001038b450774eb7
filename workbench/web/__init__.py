"""Tornado adapters: a service's `handle` as an HTTP server, and the Http port over sockets."""
