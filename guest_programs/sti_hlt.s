; /// machine
; title = "why no interrupt gets lost between STI and HLT"
; mode = "long"
; devices = ["pic", "pit", "debugcon"]
; ///

; A driver looks whether there is work, finds none, and goes to sleep. If the interrupt that
; brings the work came between the two, the sleep could last for ever. So interrupts are off
; while the driver looks. But asleep it wants them on: between STI and HLT there must be no gap.
;
; There is none. STI lets interrupts in only behind the instruction that comes *after* it (the
; interrupt shadow; Intel SDM vol. 3, 7.8.1). An interrupt that is waiting comes in when HLT
; has begun, and ends it. With one more instruction in between the shadow is used up too early.
;
; The guest waits with interrupts off until a tick is pending, and then tries both. Where the
; handler finds the return address, shows when the tick came. To KVM the two look different,
; too: HLT is an exit, at which it sees the pending tick; in the other case it has asked the
; processor to leave as soon as interrupts are on (interrupt-window exit, reason 7).

.include "machine.inc"
.include "idt.inc"

.set TICKS, 238                         ; the shortest period that KVM makes: 952 instructions
.set LONGER, 4 * TICKS / 2              ; turns of a loop of two instructions

_start:
        idt_gate64 PIC_MASTER_VECTORS + 0, timer
        lidt    [idtr]
        call    pic_init
        mov     al, 0
        call    pic_unmask
        mov     eax, TICKS
        call    pit_set_period

; The right way.
        call    wait_pending
        sti                             ; IF = 1, but the next instruction is still in its shadow
right_hlt:
        hlt                             ; EXIT, lightweight: KVM finds the tick, and goes on
        cli
        lea     rsi, [rip + right_text]
        mov     eax, offset right_hlt
        call    report

; The wrong way.
        call    wait_pending
        sti
        nop                             ; in the shadow, instead of HLT; behind it comes the tick
wrong_hlt:
        hlt                             ; EXIT, lightweight: asleep, and the tick is gone. The
        cli                             ; next one helps us out, since there is a next one
        lea     rsi, [rip + wrong_text]
        mov     eax, offset wrong_hlt
        call    report
        hlt                             ; EXIT, the last

; Come back when a tick is pending, with interrupts off.
wait_pending:
        mov     dword ptr [ticks], 0
        mov     ecx, LONGER
.turn:
        dec     ecx
        jnz     .turn
        ret

; Print the text at rsi, where the first tick came (rax: the HLT), and how many it took.
report:
        mov     rbx, [first_return]
        sub     rbx, rax
        call    print_text
        mov     rax, rbx
        call    print_decimal
        lea     rsi, [rip + ticks_text]
        call    print_text
        mov     eax, [ticks]
        call    print_decimal
        jmp     print_newline

; IRQ 0: note where the first tick came.
timer:
        push    rax
        inc     dword ptr [ticks]
        cmp     dword ptr [ticks], 1
        jne     .done
        mov     rax, [rsp + 8]          ; the return address
        mov     [first_return], rax
.done:
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al      ; EXIT, lightweight
        pop     rax
        iretq

idtr:
        idt_pointer64
first_return:
        .quad   0
ticks:
        .long   0
right_text:
        .asciz  "sti; hlt:      the tick came at HLT + "
wrong_text:
        .asciz  "sti; nop; hlt: the tick came at HLT + "
ticks_text:
        .asciz  "; ticks until we woke: "

.include "pic.inc"
.include "pit.inc"
.set PRINT_ON_DEBUGCON, 1
.include "print.inc"
