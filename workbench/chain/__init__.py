"""The EVM chain: a node on a leash, RPC, encoders, keys, sender, watcher, deployment."""
