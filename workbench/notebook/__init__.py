"""What notebooks are run by (`papers`), and what they show their tables with (`tables`)."""
