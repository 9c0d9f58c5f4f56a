; /// machine
; title = "a level-triggered interrupt that the handler does not acknowledge"
; mode = "long"
; devices = ["pic", "mmio-nic"]
; expect = "budget"
; ///

; The card holds its line up until the driver has acknowledged the interrupt at the card. The
; handler sends the EOI only, and with a level-triggered line that means: ask again, it is still
; up. Between IRETQ and the next interrupt not one instruction of the guest is executed.
;
; To see it in seconds: --max-instructions 100000. The usual ten million take minutes.
;
; (On an edge-triggered line the same mistake is silent: there is never another interrupt.)

.include "machine.inc"
.include "mmio_nic.inc"
.include "idt.inc"

_start:
        mov     edi, MMIO_BASE
        idt_gate64 PIC_MASTER_VECTORS + FIRST_IRQ, interrupt
        lidt    [idtr]
        call    pic_init
        mov     al, FIRST_IRQ
        call    pic_set_level
        mov     al, FIRST_IRQ
        call    pic_unmask
        sti
        mov     dword ptr [rdi + NIC_INTERRUPT_MASK], NIC_IRQ_TX_DONE
        mov     dword ptr [rdi + NIC_CONTROL], NIC_CONTROL_TX_ENABLE
        mov     dword ptr [rdi + NIC_TX_LENGTH], 60
        mov     dword ptr [rdi + NIC_TX_COMMAND], NIC_TX_COMMAND_SEND
        cli
        hlt                             ; never reached

interrupt:
        push    rax
        ; here the store to NIC_INTERRUPT_ACK is missing
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al
        pop     rax
        iretq

idtr:
        idt_pointer64

.include "pic.inc"
