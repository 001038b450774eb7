"""The buyer: `python client.py 100000000000000000000` purchases 100 YPS."""

from start import start

if __name__ == "__main__":
    start("buy")
