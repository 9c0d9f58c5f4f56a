; /// machine
; title = "mmio-nic: answer ping, ARP and all"
; mode = "long"
; memory = "2M"
; frames = "wire"
; capture = "pings.pcap"
; devices = ["pic", "mmio-nic", "debugcon"]
; ///

; What ping_responder.s does, with a card without DMA: each ping is carried out of the card and
; into it again, word by word. To `ping` it looks the same, but for the time it takes. The driver
; is in mmio_nic_answer.inc, the answers are in ping.inc.

.include "machine.inc"
.include "mmio_nic.inc"
.include "net.inc"

_start:
        mov     edi, MMIO_BASE
        mov     dword ptr [rdi + NIC_CONTROL], NIC_CONTROL_RESET        ; EXIT

        ; the card's address, which it takes frames to.
        mov     r12d, [rdi + NIC_MAC_LOW]               ; EXIT
        mov     eax, [rdi + NIC_MAC_HIGH]               ; EXIT
        shl     rax, 32
        or      r12, rax
        jmp     answer_frames

answer:
        jmp     ping_answer

.include "ping.inc"
.include "mmio_nic_answer.inc"
.include "card_irq.inc"
