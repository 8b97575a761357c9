"""`python -m ohlol` is `ohlol`."""

from ohlol.cli import main

if __name__ == "__main__":
    main()
