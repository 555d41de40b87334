"""The notebooks in order, through papermill, fit to publish."""
