"""`python -m nncift` is `nncift`."""

from nncift.cli import main

if __name__ == "__main__":
    main()
