"""What concerns finished runs: tables of buyers, and the hook through which a run is repeated."""
