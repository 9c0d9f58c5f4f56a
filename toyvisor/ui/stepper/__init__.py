"""The full-screen stepper: `toyvisor step PROGRAM`. Textual is touched in this room only."""
