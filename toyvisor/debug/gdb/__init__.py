"""gdb's remote serial protocol: an unmodified gdb drives a Session, backwards too."""
