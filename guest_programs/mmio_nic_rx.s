; /// machine
; title = "mmio-nic: receive frames, carrying every byte out"
; mode = "long"
; memory = "2M"
; frames = "wire"
; devices = ["pic", "mmio-nic", "debugcon"]
; registers = { r12 = 0 }
; ///

; The way back with a card that can't reach into RAM. A frame that came in lies in the card's
; buffer, and the driver carries it out, load by load:
;
;     host    the frame is in the tap; QEMU's main loop wakes and reads it             copy 1
;     QEMU    copies it into the card's buffer, and raises the interrupt line          copy 2
;     KVM     wakes the vCPU and injects the interrupt at the next VM entry
;     guest   mov eax, [rbx + rcx]    no memory there: EPT violation, the guest stops
;     KVM     KVM_RUN returns: QEMU is to say what is there
;     QEMU    puts 4 bytes of the buffer into kvm_run, calls KVM_RUN                   copy 3
;     KVM     takes them from kvm_run into EAX, finishes the MOV                       copy 4
;
; A load costs more than a store: the guest can't go on without the answer.
;
; What it costs, for a frame of n bytes: n/LOAD_WIDTH exits for the data (rounded up), then
; HLT, length, acknowledgement, release, EOI. The card has room for one frame only, so no two
; share an interrupt.

.include "machine.inc"
.include "mmio_nic.inc"

; How many bytes one load carries: 1, 2, 4 or 8.
.ifndef LOAD_WIDTH
.set LOAD_WIDTH, 4
.endif

; The register that the bytes travel in.
.if LOAD_WIDTH == 8
%define WORD rax
.elseif LOAD_WIDTH == 4
%define WORD eax
.elseif LOAD_WIDTH == 2
%define WORD ax
.else
%define WORD al
.endif

.set BUFFER, 0x30000                    ; where a frame is carried to

; Registers:
;     rdi  the card's window
;     rbx  the card's buffer
;     r12  frames still to wait for; 0 at the start: without end
;     r13  frames received
;     r14  their bytes

_start:
        mov     edi, MMIO_BASE
        lea     rbx, [rdi + NIC_RX_BUFFER]
        xor     r13d, r13d
        xor     r14d, r14d

; Set up the card: 5 exits, once; and the interrupt's way: 12 lightweight ones.

        ; is it our card, in the version we know?
        lea     rsi, [rip + no_card]
        mov     eax, [rdi + NIC_ID]                     ; EXIT
        cmp     eax, NIC_MAGIC
        jne     panic
        mov     eax, [rdi + NIC_VERSION]                ; EXIT
        cmp     eax, 1
        jne     panic
        mov     dword ptr [rdi + NIC_CONTROL], NIC_CONTROL_RESET        ; EXIT

        call    card_irq_init

        ; the card may interrupt for frames that came in (for nothing else), and take them: all
        ; of them, not only those to its own address.
        mov     dword ptr [rdi + NIC_INTERRUPT_MASK], NIC_IRQ_RX_READY  ; EXIT
        mov     eax, NIC_CONTROL_RX_ENABLE | NIC_CONTROL_PROMISC
        mov     [rdi + NIC_CONTROL], eax                ; EXIT

; Nothing more to do out here. STI lets no interrupt in before the next instruction is over, so
; that none can come between the two, be handled, and leave us to sleep for ever.

sleep:
        sti
        hlt                             ; EXIT, lightweight: we sleep in KVM
        jmp     sleep

; The interrupt. As all else only sleeps, the registers are the handler's; interrupts are off in
; it until IRETQ.

interrupt:
        ; 1. how long is the frame? 0: there is none, and the interrupt was none of ours. (Only
        ; one cause is let through, so there is no need to ask INTERRUPT_STATUS which it is.)
        mov     edx, [rdi + NIC_RX_LENGTH]              ; EXIT
        test    edx, edx
        jz      handled

        ; 2. carry the frame out of the card. Behind its end the card's buffer reads 0, so the
        ; last word may go over it. The store is to RAM and costs nothing; the load is the exit.
        xor     ecx, ecx
next_word:
        mov     WORD, [rbx + rcx]                       ; EXIT, 2 copies
        mov     [BUFFER + rcx], WORD
        add     ecx, LOAD_WIDTH
        cmp     ecx, edx
        jb      next_word

        ; 3. we have seen the frame: the card lets its line down. That must come before 4, or we
        ; could acknowledge the next frame, too, and never hear of it.
        mov     dword ptr [rdi + NIC_INTERRUPT_ACK], NIC_IRQ_RX_READY   ; EXIT

        ; 4. and we have read it: the buffer is the card's again, the next frame may come in.
        mov     dword ptr [rdi + NIC_RX_COMMAND], NIC_RX_COMMAND_RELEASE ; EXIT

        ; here a network stack would get the frame: edx bytes at BUFFER. We count.
        inc     r13
        add     r14, rdx
        dec     r12
        jz      done

        ; 5. the interrupt controller may let the next one through.
handled:
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al                      ; EXIT, lightweight
        iretq

done:
        hlt                                             ; EXIT, lightweight; IF=0: for good

no_card:
        .asciz  "mmio_nic_rx: no mmio-nic at the first window\n"

.include "panic.inc"
.include "card_irq.inc"
