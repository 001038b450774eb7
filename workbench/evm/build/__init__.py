"""Build tools: compilers, compiled contracts, and the paths of both."""
