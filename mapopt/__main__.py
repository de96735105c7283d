"""`python -m mapopt`: the `mapopt` command of this Python, wherever the script of that name is."""

import sys

from mapopt.cli import main

if __name__ == "__main__":
    sys.exit(main())
