"""`python -m trocar` is the command line of `trocar`."""

from trocar.cli import main

main()
