"""Keys, nonce slots, simulation, inclusion and fee bumps: how a transaction is sent."""
