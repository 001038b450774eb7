"""The facilitator: pulls the funds, swaps, waits for finality, and settles."""

from start import start

if __name__ == "__main__":
    start("facilitator")
