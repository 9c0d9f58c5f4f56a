; /// machine
; title = "mmio-nic: reads a frame and does not release it"
; mode = "long"
; frames = "wire"
; devices = ["pic", "mmio-nic", "debugcon"]
; ///

; The card has room for one frame. The driver reads it and acknowledges the interrupt, but never
; tells the card that it has read it. So there is no room for another one: they wait in the
; host, and no interrupt comes.

.include "machine.inc"
.include "mmio_nic.inc"

_start:
        mov     edi, MMIO_BASE
        mov     dword ptr [rdi + NIC_CONTROL], NIC_CONTROL_RESET
        call    card_irq_init
        mov     dword ptr [rdi + NIC_INTERRUPT_MASK], NIC_IRQ_RX_READY
        mov     eax, NIC_CONTROL_RX_ENABLE | NIC_CONTROL_PROMISC
        mov     [rdi + NIC_CONTROL], eax
sleep:
        sti
        hlt
        jmp     sleep

interrupt:
        mov     edx, [rdi + NIC_RX_LENGTH]
        xor     ecx, ecx
next:
        mov     eax, [rdi + NIC_RX_BUFFER + rcx]
        add     ecx, 4
        cmp     ecx, edx
        jb      next
        mov     dword ptr [rdi + NIC_INTERRUPT_ACK], NIC_IRQ_RX_READY
        ; here RX_COMMAND.RELEASE is missing
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al
        iretq

.include "card_irq.inc"
