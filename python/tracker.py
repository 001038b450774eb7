"""The tracker: events and settlements on a page at http://localhost:5000."""

from start import start

if __name__ == "__main__":
    start("tracker")
