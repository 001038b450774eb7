"""The x402 payment: wire format, terms, signatures."""
