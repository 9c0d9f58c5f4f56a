"""One module a command: what `toyvisor NAME` does once its arguments are read."""
