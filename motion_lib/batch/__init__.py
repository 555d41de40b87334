"""The notebooks in order, through papermill, fit to publish."""

import os

from motion_lib.storage import home

# Jupyter asks for a home as soon as it is imported, and so do the kernels that it starts.
os.environ.setdefault("HOME", str(home()))
