"""``python -m musiceval_sk``: the command line."""

from musiceval_sk.cli.app import main

main()
