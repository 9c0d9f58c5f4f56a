"""Virtqueues: the ring formats of the VIRTIO specification, both ends of them.

This room knows neither registers nor QEMU, because a QEMU device and the kernel's vhost
worker both use it. `split_queue` is the device's end of a split virtqueue (VIRTIO 1.2,
2.7) and tells the trip of one buffer step by step; `driver` is the guest's end, in Python,
for tests and experiments. What a guest may do wrong on a ring is listed in `errors`.
"""
