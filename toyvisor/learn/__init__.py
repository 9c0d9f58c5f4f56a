"""Teaching on top of the machine: experiments, and what they cost."""
