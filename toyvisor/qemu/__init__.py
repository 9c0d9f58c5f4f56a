"""QEMU: the userspace half of the hypervisor. It finds out what happened from `kvm_run`."""
