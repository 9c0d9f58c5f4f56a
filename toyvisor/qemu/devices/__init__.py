"""QEMU's device models: what a driver talks to.

Each is a `MemoryRegionOps`: registers in an address space, an interrupt line, a file of the
host behind it. `serial` and `debugcon` print; `mmio_nic` is a network card without DMA, into
which a driver pushes a frame store by store, and out of which it pulls one load by load: the
full-virtualization side of the comparison.
`registers` holds what every register map is made of.
"""
