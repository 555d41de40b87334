"""`python -m motion_lib.reproduce`, an earlier spelling of `python -m motion_lib reproduce`."""

import sys

from motion_lib.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["reproduce", *sys.argv[1:]]))
