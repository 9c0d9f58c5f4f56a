; /// machine
; title = "mmio-nic: send frames, each told done by an interrupt"
; mode = "long"
; memory = "2M"
; devices = ["pic", "mmio-nic", "debugcon"]
; ///

; The driver of mmio_nic_tx.s, but it does not look whether the card is done: it sleeps, and the
; card tells it. That is how drivers for cards that take their time do it (Linux: a driver's
; start_xmit returns at once, and its interrupt handler wakes the queue).
;
; What it costs: instead of one look at TX_STATUS the exits of HLT, INTERRUPT_STATUS,
; INTERRUPT_ACK and EOI. With a card that is done at once, as ours, sleeping is dearer than
; looking; which is why drivers stop interrupting themselves under load (Linux: NAPI).

.include "machine.inc"
.include "mmio_nic.inc"

; Registers:
;     rdi  the card's window
;     rbx  the card's buffer
;     r13  the frame's entry in the table
;     r14  frames still to send
;     r15  1 when the card is done
;     rsi, edx, ecx  of one frame: its address, its length, bytes carried so far

_start:
        mov     edi, MMIO_BASE
        lea     rbx, [rdi + NIC_TX_BUFFER]

; Set up the card: 5 exits, once; and the interrupt's way: 12 lightweight ones.

        lea     rsi, [rip + no_card]
        mov     eax, [rdi + NIC_ID]                     ; EXIT
        cmp     eax, NIC_MAGIC
        jne     panic
        mov     eax, [rdi + NIC_VERSION]                ; EXIT
        cmp     eax, 1
        jne     panic
        mov     dword ptr [rdi + NIC_CONTROL], NIC_CONTROL_RESET        ; EXIT
        call    card_irq_init
        mov     dword ptr [rdi + NIC_INTERRUPT_MASK], NIC_IRQ_TX_DONE | NIC_IRQ_TX_ERROR ; EXIT
        mov     dword ptr [rdi + NIC_CONTROL], NIC_CONTROL_TX_ENABLE    ; EXIT

        mov     r14d, [FRAME_TABLE]
        mov     r13d, FRAME_TABLE + FRAME_TABLE_HEADER
        test    r14d, r14d
        jz      done

; Interrupts are off but while we sleep.

next_frame:
        mov     rsi, [r13 + FRAME_ADDRESS]
        mov     edx, [r13 + FRAME_LENGTH]
        cmp     edx, NIC_MAX_FRAME
        ja      sent                                    ; it is left out

        ; 1. carry the frame into the card: words of 4 bytes, then the rest.
        xor     ecx, ecx
next_word:
        lea     r8d, [rcx + 4]
        cmp     r8d, edx
        ja      next_byte
        mov     eax, [rsi + rcx]
        mov     [rbx + rcx], eax                        ; EXIT, 2 copies
        mov     ecx, r8d
        jmp     next_word
next_byte:
        cmp     ecx, edx
        jae     carried
        mov     al, [rsi + rcx]
        mov     [rbx + rcx], al                         ; EXIT, 2 copies
        inc     ecx
        jmp     next_byte

        ; 2. length and doorbell.
carried:
        xor     r15d, r15d
        mov     [rdi + NIC_TX_LENGTH], edx              ; EXIT
        mov     dword ptr [rdi + NIC_TX_COMMAND], NIC_TX_COMMAND_SEND   ; EXIT: QEMU sends it

        ; 3. sleep until the card says that it is over, well or not. Our card has said so before
        ; we come here: the interrupt waits for STI, and comes behind HLT, which wakes at once.
wait_done:
        sti
        hlt                             ; EXIT, lightweight: we sleep in KVM
        cli
        test    r15d, r15d
        jz      wait_done

sent:
        add     r13, FRAME_ENTRY
        dec     r14d
        jnz     next_frame
done:
        cli
        hlt                             ; EXIT, lightweight; IF=0: for good

; 4. The interrupt: which of the two was it? (We treat both alike: a frame that was refused is
; not tried again.) Acknowledged, the card lets its line down. It comes during HLT only, so rax
; is free.
interrupt:
        mov     eax, [rdi + NIC_INTERRUPT_STATUS]       ; EXIT
        mov     [rdi + NIC_INTERRUPT_ACK], eax          ; EXIT
        test    eax, NIC_IRQ_TX_DONE | NIC_IRQ_TX_ERROR
        setnz   r15b
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al                      ; EXIT, lightweight
        iretq

no_card:
        .asciz  "mmio_nic_tx_irq: no mmio-nic at the first window\n"

.include "panic.inc"
.include "card_irq.inc"
