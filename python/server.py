"""The seller: sells the asset over HTTP 402 on port 8402."""

from start import start

if __name__ == "__main__":
    start("seller")
