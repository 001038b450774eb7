"""Local anvil nodes: started, forked, and restored from recorded blocks."""
