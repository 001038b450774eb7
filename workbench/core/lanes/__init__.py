"""Facts in, lanes out: the model that the tracker draws."""
