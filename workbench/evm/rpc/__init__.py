"""JSON-RPC clients and their HTTP transport."""
