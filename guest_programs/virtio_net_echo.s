; /// machine
; title = "virtio-net: send every frame back to where it came from"
; mode = "long"
; memory = "2M"
; frames = "requests"
; devices = ["pic", "virtio-net", "debugcon"]
; ///

; Request and response, as between a client and a server: the next frame comes when the last one
; has been answered. So nothing can be done for several frames at once, and what counts is what
; one round trip costs. The work is in virtio_net_answer.inc; here is only the answer.
;
; For the same with a card without DMA see mmio_nic_echo.s.

.include "machine.inc"
.include "virtio.inc"
.include "net.inc"

.ifndef EVENT_IDX
.set EVENT_IDX, 0
.endif
.set VIRTIO_NET_FEATURES, EVENT_IDX << VIRTIO_F_EVENT_IDX

; So many frames can come in, or be on their way out, at once.
.ifndef QUEUE_SIZE
.set QUEUE_SIZE, 64
.endif

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_negotiate
        jmp     answer_frames

; The frame at rsi, ecx bytes long: the same, with its two addresses exchanged.
answer:
        mov     rax, [rsi + ETH_DEST]                   ; 6 bytes of it
        mov     edx, [rsi + ETH_SOURCE]
        mov     r8w, [rsi + ETH_SOURCE + 4]
        mov     [rsi + ETH_DEST], edx
        mov     [rsi + ETH_DEST + 4], r8w
        mov     [rsi + ETH_SOURCE], eax
        shr     rax, 32
        mov     [rsi + ETH_SOURCE + 4], ax
        ret

.include "virtio_net_answer.inc"
.include "virtio_net_init.inc"
.include "card_irq.inc"
