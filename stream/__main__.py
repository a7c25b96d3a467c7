"""`python -m stream` is `eddy`."""

from stream.cli import main

if __name__ == "__main__":
    main()
