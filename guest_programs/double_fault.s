; /// machine
; title = "a stack overflow, survived: #DF on its own stack"
; mode = "long"
; devices = ["debugcon"]
; ///

; A function that calls itself without end runs off the end of its stack. Below lies a page that
; is not there, so the CALL that can't push raises #PF. To deliver it, the processor pushes a
; frame, on the very same stack, and that is a page fault, too: a double fault, #DF. And to
; deliver that...
;
; Without help the third one would end it all (triple fault). The help is the interrupt stack
; table: a gate can say "whatever RSP is, take this stack" (Intel SDM vol. 3, 7.14.5). The
; stacks are in the TSS.
;
; #DF is an abort: nothing can be made good, the return address may mean nothing. A kernel ends
; the process, or itself; ours drops the stack and goes on somewhere else.

.include "machine.inc"
.include "idt.inc"

.set STACK_PD,  0x20000                 ; tables for one page of stack
.set STACK_PT,  0x21000
.set STACK_RAM, 0x22000
.set GUARD,     1 << 32                 ; where the stack is: behind a page that is not there
.set STACK_TOP, GUARD + 0x2000
.set IST1_TOP,  0x24000                 ; the stack for #DF
.set PRESENT_WRITABLE, 3

_start:
        idt_gate64 X86_TRAP_PF, page_fault
        idt_gate64 X86_TRAP_DF, double_fault, ist=1
        lidt    [idtr]

        ; a GDT that has a TSS, and the TSS into the task register. Of all that is in it we need
        ; one stack pointer.
        mov     dword ptr [tss + TSS_IST1], IST1_TOP
        lgdt    [gdtr]
        mov     eax, TSS_SELECTOR
        ltr     ax

        ; a stack of one page; the one below stays empty.
        mov     dword ptr [BOOT_PDPT + 8 * (GUARD >> 30)], STACK_PD | PRESENT_WRITABLE
        mov     dword ptr [STACK_PD], STACK_PT | PRESENT_WRITABLE
        mov     dword ptr [STACK_PT + 8], STACK_RAM | PRESENT_WRITABLE
        mov     rsp, STACK_TOP

        xor     ebx, ebx                ; ebx: how deep we are
recurse:
        inc     ebx
        call    recurse                 ; 512 fit on the page. Then #PF, then #DF

; Never reached: its frame can't be pushed.
page_fault:
        ud2

; #DF, on the stack from the TSS. Its error code is always 0. CR2 is the address of the last
; page fault on the way here.
double_fault:
        lea     rsi, [rip + fault_text]
        call    print_text
        mov     eax, ebx
        call    print_decimal
        lea     rsi, [rip + address_text]
        call    print_text
        mov     rax, cr2
        mov     ecx, 9
        call    print_hex
        call    print_newline

        ; go on: with another stack, in another place.
        mov     esp, 0x8ff0
        lea     rsi, [rip + alive_text]
        call    print_text
        hlt                             ; EXIT, the last

.set TSS_SELECTOR, tss_entry - gdt
gdt:
        .quad   0
        .quad   0x00af9b000000ffff      ; BOOT_CS: 64-bit code, level 0
        .quad   0x00cf93000000ffff      ; BOOT_DS
tss_entry:
        tss_descriptor tss
gdtr:
        .word   gdtr - gdt - 1
        .quad   gdt
idtr:
        idt_pointer64
fault_text:
        .asciz  "double fault: the stack is full, at call number "
address_text:
        .asciz  "; page fault at 0x"
alive_text:
        .asciz  "and we are still here\n"

        .align  16
tss:
        .zero   TSS_SIZE

.set PRINT_ON_DEBUGCON, 1
.include "print.inc"
