"""What a person sees of a machine at one moment, as plain data.

Each function takes a machine and looks: it changes nothing of it, counts nothing, and asks no
device by an access that the guest could have made. Nothing is raised for what a guest did. What
comes back are named tuples of numbers and strings, which can be compared, kept, and sent to
another thread.
"""
