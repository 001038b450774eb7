"""One database for each service: journal, claims, nonce slots, blocks seen."""
