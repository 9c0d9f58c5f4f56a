; /// machine
; title = "virtio-net: answer ping, ARP and all"
; mode = "long"
; memory = "2M"
; frames = "wire"
; capture = "pings.pcap"
; devices = ["pic", "virtio-net", "debugcon"]
; ///

; A machine that is there: it tells who asks for its address (ARP), and says yes to who asks
; whether it is there (ICMP echo). That is all it takes for the `ping` of a real computer:
;
;     sudo ip tuntap add tap0 mode tap user $USER
;     sudo ip addr add 10.0.0.1/24 dev tap0
;     sudo ip link set tap0 up
;     toyvisor run ping_responder --net tap:tap0 &
;     ping 10.0.0.2
;
; The way of a ping: the real kernel puts it into the tap; QEMU's main loop (or vhost) copies it
; into one of our buffers and interrupts; we answer in the same buffer (ping.inc) and kick; QEMU
; hands it to the tap, and the real kernel to `ping`. The driver is in virtio_net_answer.inc.
;
; For the same with a card without DMA see mmio_nic_ping_responder.s.

.include "machine.inc"
.include "virtio.inc"
.include "net.inc"

.ifndef EVENT_IDX
.set EVENT_IDX, 0
.endif
.set VIRTIO_NET_FEATURES, 1 << VIRTIO_NET_F_MAC | EVENT_IDX << VIRTIO_F_EVENT_IDX

.ifndef QUEUE_SIZE
.set QUEUE_SIZE, 64
.endif

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_negotiate

        ; VIRTIO_NET_F_MAC: the device has an address for us, in its configuration.
        mov     r12d, [rdi + VIRTIO_NET_CONFIG_MAC]             ; EXIT
        movzx   eax, word ptr [rdi + VIRTIO_NET_CONFIG_MAC + 4] ; EXIT
        shl     rax, 32
        or      r12, rax
        jmp     answer_frames

answer:
        jmp     ping_answer

.include "ping.inc"
.include "virtio_net_answer.inc"
.include "virtio_net_init.inc"
.include "card_irq.inc"
