"""`python -m callgate`, the same as the command `callgate`."""

from callgate.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
