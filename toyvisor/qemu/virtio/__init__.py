"""QEMU's virtio devices: a device model, and the transport the guest reaches it through.

`device` is what all devices have in common (status, features, queues, notifications),
`net` the network device with its receiving half in `net_receive`, `mmio` the transport: the
registers of VIRTIO 1.2, 4.2.2. What a driver may do wrong outside the rings, and what
becomes of it, is listed in `rules`. `ioeventfd` and `vhost` move the work on the queues from the
vCPU's thread to the main loop, or into the host's kernel.
"""
