"""What lies between us and a node: HTTP, JSON-RPC answers and their types, faults and proxies."""
