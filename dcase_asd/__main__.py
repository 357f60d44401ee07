"""``python -m dcase_asd`` is ``dcase-asd``."""

from dcase_asd.cli import main

if __name__ == "__main__":
    main()
