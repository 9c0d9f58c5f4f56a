; /// machine
; title = "a program at level 3, its system calls, and its end"
; mode = "long"
; memory = "4M"
; devices = ["debugcon"]
; ///

; A small kernel (level 0) starts a user program (level 3), which can't do much by itself: not
; touch the kernel's memory, not talk to a device, not switch off interrupts. It can ask.
;
;     INT 0x80   a software interrupt, through a gate that is open to level 3 (GATE_DPL3). The
;                processor takes the kernel's stack from the TSS (RSP0), for that of the user
;                may be anywhere, and pushes there where the user was. IRETQ is the way back
;     CLI        is the kernel's. The processor raises #GP instead, with the return address on
;                the CLI, and the kernel ends the program
;
; None of that is an exit: a guest has its own kernel and its own user programs, and the
; processor keeps them apart without the hypervisor.

.include "machine.inc"
.include "idt.inc"

.set SYSTEM_CALL,  0x80                 ; Linux's vector for it; the call's number is in eax
.set SYS_PRINT,    1                    ; rcx: the text, up to a zero byte
.set SYS_WHERE,    2                    ; print who has called, and from where

.set USER_PAGE,    0x200000             ; the user program's 2 MiB, and its stack at the end
.set USER_STACK,   0x3ffff0
.set KERNEL_STACK, 0x24000              ; the one for whoever comes in from level 3
.set LEVEL_3,      3
.set PTE_USER,     1 << 2               ; level 3 may use the page

_start:
        idt_gate64 SYSTEM_CALL, system_call, GATE_INTERRUPT | GATE_DPL3
        idt_gate64 X86_TRAP_GP, general_protection
        lidt    [idtr]

        ; segments of level 3, and a TSS for the way in.
        mov     dword ptr [tss + TSS_RSP0], KERNEL_STACK
        lgdt    [gdtr]
        mov     eax, TSS_SELECTOR
        ltr     ax

        ; the second 2 MiB are the user's: every level of the page tables has to say so. The
        ; first, with us in it, stay closed to level 3.
        or      byte ptr [BOOT_PML4], PTE_USER
        or      byte ptr [BOOT_PDPT], PTE_USER
        or      byte ptr [BOOT_PD + 8], PTE_USER
        mov     esi, offset user_program
        mov     edi, USER_PAGE
        mov     ecx, offset user_program_end - user_program
        rep movsb

        ; there is no "jump to level 3". Return to it, from an interrupt that never was.
        push    USER_DS | LEVEL_3       ; ss
        mov     eax, USER_STACK
        push    rax                     ; rsp
        push    2                       ; rflags: IF = 0, and IOPL = 0: no ports, no CLI
        push    USER_CS | LEVEL_3       ; cs
        mov     eax, USER_PAGE
        push    rax                     ; rip
        iretq

; INT 0x80. The gate has let level 3 through; the number is in eax. For a trap of software there
; is no error code.
system_call:
        cmp     eax, SYS_PRINT
        je      sys_print
        cmp     eax, SYS_WHERE
        je      sys_where
        mov     rax, -38                ; -ENOSYS
        iretq

        ; the user's pointer, used as it is: our page tables are the user's, too. A kernel would
        ; look first whether it points to the user's own.
sys_print:
        push    rdx
        push    rsi
        mov     rsi, rcx
        call    print_text
        pop     rsi
        pop     rdx
        xor     eax, eax
        iretq

        ; show what the processor has pushed, and where.
sys_where:
        lea     rsi, [rip + level_text]
        call    print_text
        mov     eax, [rsp + 8]          ; cs: its lowest two bits are the level
        and     eax, 3
        call    print_decimal
        lea     rsi, [rip + stacks_text]
        call    print_text
        mov     rax, [rsp + 24]         ; rsp
        mov     ecx, 6
        call    print_hex
        lea     rsi, [rip + to_text]
        call    print_text
        mov     eax, [tss + TSS_RSP0]
        mov     ecx, 6
        call    print_hex
        call    print_newline
        iretq

; #GP: error code, then the return address, on the instruction that did it.
general_protection:
        lea     rsi, [rip + protection_text]
        call    print_text
        mov     rax, [rsp + 8]
        sub     rax, USER_PAGE + (user_cli - user_program)
        call    print_decimal
        lea     rsi, [rip + code_text]
        call    print_text
        mov     rax, [rsp]
        call    print_decimal
        lea     rsi, [rip + killed_text]
        call    print_text
        hlt                             ; EXIT, the last: there is no other program to run

; The user program. It is copied, so it says nowhere where it is.
user_program:
        lea     rcx, [rip + hello]
        mov     eax, SYS_PRINT
        int     SYSTEM_CALL
        mov     eax, SYS_WHERE
        int     SYSTEM_CALL
user_cli:
        cli                             ; #GP: no
        jmp     user_cli                ; never reached
hello:
        .asciz  "hello from level 3\n"
user_program_end:

.set USER_CS, user_code - gdt
.set USER_DS, user_data - gdt
.set TSS_SELECTOR, tss_entry - gdt
gdt:
        .quad   0
        .quad   0x00af9b000000ffff      ; BOOT_CS: 64-bit code, level 0
        .quad   0x00cf93000000ffff      ; BOOT_DS
user_code:
        .quad   0x00affb000000ffff      ; 64-bit code, level 3
user_data:
        .quad   0x00cff3000000ffff
tss_entry:
        tss_descriptor tss
gdtr:
        .word   gdtr - gdt - 1
        .quad   gdt
idtr:
        idt_pointer64
level_text:
        .asciz  "INT 0x80 from level "
stacks_text:
        .asciz  "; the stack was 0x"
to_text:
        .asciz  ", ours is 0x"
protection_text:
        .asciz  "#GP at CLI + "
code_text:
        .asciz  ", error code "
killed_text:
        .asciz  ": killed\n"

        .align  16
tss:
        .zero   TSS_SIZE

.set PRINT_ON_DEBUGCON, 1
.include "print.inc"
