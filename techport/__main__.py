"""`python -m techport` is `techport`."""

from techport.cli import main

main()
