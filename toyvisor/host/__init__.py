"""The rest of the host's kernel: system calls, and the files they end in.

`syscalls` is the door: the only calls through which QEMU leaves the machine, and where the
copy between user and kernel memory is made and counted. Behind it stand the files: `tap`
(the network device) with a `wire` or a capture file (`pcap`) at its far end, and `console`
(where a character device's bytes end up). `net` reads the command line's `--net` value.
"""
