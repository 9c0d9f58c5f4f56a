"""Toyvisor: a glass-box hypervisor for the classroom."""

__version__ = "0.1.0"
