"""One module for each step of the schema. The SQL of a released step never changes."""
