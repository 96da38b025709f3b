"""``python -m musiceval_sk``: the command line."""

from musiceval_sk.cli import main

if __name__ == "__main__":
    main()
