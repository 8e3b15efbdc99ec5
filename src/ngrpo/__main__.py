"""`python -m ngrpo`."""

from ngrpo.cli.main import main

main()
