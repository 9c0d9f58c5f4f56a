; /// machine
; title = "a division by zero is repaired, and tried again"
; mode = "long"
; devices = ["debugcon"]
; ///

; A fault is an exception that comes *before* its instruction: nothing of that has happened,
; and the return address on the stack is the instruction itself. A handler that mends what was
; wrong returns there, and the processor tries again. Page faults live on that; here it is
; exception 0, #DE. (broken/divide_by_zero.s is the same without a handler.)
;
; No exit is made for an exception: it is an affair between the guest and its processor, and
; KVM does not look.

.include "machine.inc"
.include "idt.inc"

_start:
        idt_gate64 X86_TRAP_DE, divide_error
        lidt    [idtr]

        mov     eax, 84
        xor     edx, edx
        xor     ecx, ecx
division:
        div     ecx                     ; edx:eax / 0: #DE. Then again, with ecx = 2

        mov     ebx, eax
        lea     rsi, [rip + result_text]
        call    print_text
        mov     eax, ebx
        call    print_decimal
        call    print_newline
        hlt                             ; EXIT, the last

; #DE has no error code: the return address is on top of the stack.
divide_error:
        push    rax
        push    rdx
        push    rsi
        lea     rsi, [rip + error_text]
        call    print_text
        mov     rax, [rsp + 3 * 8]      ; the return address: behind the three of ours
        mov     ecx, offset division
        sub     rax, rcx
        call    print_decimal           ; its distance from the DIV: 0
        call    print_newline
        pop     rsi
        pop     rdx
        pop     rax                     ; edx:eax is as it was: DIV has not touched it

        ; the repair. ecx is not restored: that is what was wrong.
        mov     ecx, 2
        iretq                           ; to the DIV

idtr:
        idt_pointer64
error_text:
        .asciz  "divide error: the return address is DIV + "
result_text:
        .asciz  "84 / 2 = "

.set PRINT_ON_DEBUGCON, 1
.include "print.inc"
