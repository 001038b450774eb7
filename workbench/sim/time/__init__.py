"""Virtual time: the event loop of a simulated run."""
