"""`toyvisor step --plain`: a debug session line by line, for pipes, scripts and screen readers."""
