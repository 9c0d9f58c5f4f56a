"""KVM: the part of the hypervisor that lives in the host kernel."""
