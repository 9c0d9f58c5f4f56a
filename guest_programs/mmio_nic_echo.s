; /// machine
; title = "mmio-nic: send every frame back to where it came from"
; mode = "long"
; memory = "2M"
; frames = "requests"
; devices = ["pic", "mmio-nic", "debugcon"]
; ///

; Request and response with a card that can't reach into RAM: the frame is carried out of the
; card, and its answer into it again. The work is in mmio_nic_answer.inc; here is only the
; answer. For the same with virtio see virtio_net_echo.s.

.include "machine.inc"
.include "mmio_nic.inc"
.include "net.inc"

; all frames, not only those to the card's own address.
.set NIC_RECEIVE, NIC_CONTROL_RX_ENABLE | NIC_CONTROL_PROMISC

_start:
        mov     edi, MMIO_BASE
        mov     dword ptr [rdi + NIC_CONTROL], NIC_CONTROL_RESET        ; EXIT
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

.include "mmio_nic_answer.inc"
.include "card_irq.inc"
