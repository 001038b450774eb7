"""The lanes: the model that the tracker draws, folded from facts."""
