"""The rest of the host's kernel: system calls, the files they end in, and who runs when.

`syscalls` is the door: the only calls through which QEMU leaves the machine, and where the
copy between user and kernel memory is made and counted. Behind it stand the files: `tap`
(the network device) with a `wire`, a capture file (`pcap`) or somebody who sends (`sender`) at
its far end, `tun` (a real tap), `console` and `console_input` (where a character device's bytes
end up, and come from), `eventfd`. `net` reads the command line's `--net` value.

`scheduler` gives the host's threads their turns and `timers` calls what is due, both in the
machine's own time; `poll` waits for the real world.
"""
