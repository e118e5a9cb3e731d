"""``python -m netchat`` and the ``netchat`` command."""

import sys


def main() -> None:
    """Run the command line and end the process with its status."""
    from netchat.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
