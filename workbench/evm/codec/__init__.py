"""Bytes to typed values and back: ABI, EIP-712, JSON-RPC results, receipts, log blooms."""
