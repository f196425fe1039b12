#!/usr/bin/env python
"""Run the project's commands: `python manage.py help` lists them."""

from neuronviewer.cli import main

if __name__ == "__main__":
    main()
