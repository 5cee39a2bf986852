"""The command line as a module: `python -m trocar doctor` is the same as the command below.

trocar doctor
"""

from trocar.cli import main

if __name__ == "__main__":
    main()
