"""`python -m techport` is `techport`: the entry point of both."""

from techport.importing import importing


def main() -> None:
    """Run the command line."""
    with importing():
        from techport import cli
    cli.main()


if __name__ == "__main__":
    main()
