; /// machine
; title = "a breakpoint, as a debugger sets it: INT3"
; mode = "protected"
; devices = ["debugcon"]
; ///

; A trap is an exception that comes *behind* its instruction: the return address is the next
; one. INT3 is the shortest, one byte (0xcc), so that it fits over any other instruction. That
; is how a debugger stops a program: it keeps the first byte of an instruction, puts INT3 in
; its place, and waits for exception 3, #BP. To go on it puts the byte back, and steps back by
; one: the instruction that was covered has not run yet.
;
; INT n is the same with any vector, in two bytes: how programs used to call their system.
;
; In 32-bit protected mode; only a debugger and its victim in one program are unusual.

.include "machine.inc"
.include "idt.inc"

.set INT3, 0xcc
.set SERVICE, 0x30                      ; any vector that is no exception

_start:
        idt_gate32 X86_TRAP_BP, breakpoint
        idt_gate32 SERVICE, service
        lidt    [idtr]

        ; the debugger: a breakpoint on `victim`.
        mov     al, [victim]
        mov     [covered], al
        mov     byte ptr [victim], INT3

victim:
        mov     esi, offset victim_text ; #BP; then, again from its first byte, this
        call    print

        int     SERVICE
behind_int:
        hlt                             ; EXIT, the last

; #BP: no error code, so the return address is on top of the stack.
breakpoint:
        push    esi
        mov     esi, offset breakpoint_text
        call    print
        mov     eax, [esp + 4]
        sub     eax, offset victim
        call    print_digit             ; behind the INT3: 1
        pop     esi

        mov     al, [covered]
        mov     [victim], al            ; the instruction is whole again
        dec     dword ptr [esp]         ; go back to its beginning
        iretd

; INT n: also a trap.
service:
        mov     esi, offset service_text
        call    print
        mov     eax, [esp]
        sub     eax, offset behind_int - 2
        call    print_digit             ; behind the two bytes: 2
        iretd

; Print the digit eax and a newline, or the text at esi.
print_digit:
        add     eax, '0'
        mov     [digit], al
        mov     esi, offset digit
print:
        lodsb
        test    al, al
        jz      .end
        out     DEBUGCON, al            ; EXIT
        jmp     print
.end:
        ret

idtr:
        idt_pointer32
covered:
        .byte   0
digit:
        .asciz  "0\n"
breakpoint_text:
        .asciz  "breakpoint: the return address is INT3 + "
victim_text:
        .asciz  "the victim goes on\n"
service_text:
        .asciz  "INT n: the return address is INT + "
