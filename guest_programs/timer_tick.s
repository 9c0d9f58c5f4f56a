; /// machine
; title = "a timer interrupts the guest five times"
; mode = "long"
; devices = ["pic", "pit", "debugcon"]
; ///

; The guest does not ask whether time has passed. It sleeps, and is told. Who does what:
;
;     8254 (pit)   counts down, and raises IRQ 0 at the end, a hundred times a second
;     8259 (pic)   finds IRQ 0 not masked and raises INTR; asked which it is, it says vector 0x20
;     processor    finds gate 0x20 in the IDT, pushes where it was, and goes to our handler
;
; Both chips are in KVM, so nothing of this reaches QEMU: every OUT to them is a lightweight
; exit, and with HLT the vCPU's thread goes to sleep in the host's kernel. The timer wakes it,
; KVM asks the 8259 for the vector, and enters the guest with the interrupt in hand
; (kvm_inj_virq in the trace). The handler's first instruction is the next that runs.

.include "machine.inc"
.include "idt.inc"

_start:
        ; before interrupts are let in, there must be somebody to take them.
        idt_gate64 PIC_MASTER_VECTORS + 0, timer
        lidt    [idtr]

        ; the chips: vectors, masks, and a timer that counts from now on.
        call    pic_init
        mov     al, 0                   ; IRQ 0
        call    pic_unmask
        mov     ecx, 100                ; Hz
        call    pit_set_rate

        xor     ebx, ebx                ; ebx: ticks that we have printed

        ; sleep until there is a tick. IF is 0 while we look, so no tick can come between the
        ; look and HLT. STI lets interrupts in behind the instruction that follows it, which is
        ; HLT: asleep or on the way there, the tick wakes us (sti_hlt.s shows it).
sleep:
        cli
        cmp     ebx, [ticks]
        jne     awake
        sti
        hlt                             ; EXIT, lightweight: the PIT wakes us, in the handler
        jmp     sleep

awake:
        sti
        inc     ebx
        lea     rsi, [rip + tick_text]
        call    print_text
        mov     eax, ebx
        call    print_decimal
        call    print_newline
        cmp     ebx, 5
        jb      sleep

        ; with IF = 0 nothing can wake us: HLT is the end.
        cli
        hlt                             ; EXIT, the last

; IRQ 0. We came through an interrupt gate: IF is 0 until IRETQ, no other interrupt comes in. A
; handler leaves all registers as they were; it may have interrupted anything.
timer:
        inc     dword ptr [ticks]
        push    rax
        mov     al, PIC_OCW2_EOI        ; we are done: the 8259 may send the next one
        out     PIC_MASTER_CMD, al      ; EXIT, lightweight
        pop     rax
        iretq                           ; on, behind the HLT; the old flags have IF = 1

idtr:
        idt_pointer64
ticks:
        .long   0
tick_text:
        .asciz  "tick "

.include "pic.inc"
.include "pit.inc"
.set PRINT_ON_DEBUGCON, 1
.include "print.inc"
