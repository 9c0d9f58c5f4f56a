; /// machine
; title = "page faults: memory that comes when it is touched"
; mode = "long"
; memory = "2M"
; devices = ["debugcon"]
; ///

; The way of a kernel with memory: it promises much and gives nothing, until a page is touched.
; The processor finds no page in the guest's page tables and raises #PF: the address in CR2, on
; the stack an error code that says what was tried. The handler gives a page, returns to the
; instruction, and that is carried out as if nothing had been.
;
; As in Linux, a page that is only read costs nothing: all such pages are one and the same page
; of zeros, which nobody may write to. The first store to it is a fault again, and brings a
; page of one's own.
;
; These are the *guest's* tables. They know nothing of the tables that the host has for the
; guest's memory (EPT), and no page fault of a guest is an exit. What a store to a device does,
; which has a page in the guest's tables but none in the host's, is in one_store.s.

.include "machine.inc"
.include "idt.inc"

.set HEAP,      1 << 32                 ; 4 GiB and up: the boot loader's tables end there
.set HEAP_PD,   0x20000                 ; two tables of ours, in RAM that is still all zeros
.set HEAP_PT,   0x21000
.set ZERO_PAGE, 0x22000
.set FREE_PAGES, 0x23000                ; from here on: pages to give

.set PRESENT,   1 << 0                  ; bits of an entry
.set WRITABLE,  1 << 1
.set CR0_WP,    1 << 16                 ; "read-only" binds the kernel, too

; Register: rbp  the next page to give

_start:
        idt_gate64 X86_TRAP_PF, page_fault
        lidt    [idtr]
        mov     rax, cr0
        or      eax, CR0_WP
        mov     cr0, rax
        mov     ebp, FREE_PAGES

        ; two more levels for the fifth GiB. The last one stays empty: 2 MiB without a page.
        mov     dword ptr [BOOT_PDPT + 8 * (HEAP >> 30)], HEAP_PD | PRESENT | WRITABLE
        mov     dword ptr [HEAP_PD], HEAP_PT | PRESENT | WRITABLE

        ; touch it.
        mov     rbx, HEAP
        mov     rax, [rbx + 0x10]               ; #PF: not there. A page of zeros
        mov     qword ptr [rbx + 0x10], 40      ; #PF: it is there, but read-only. A page of ours
        mov     qword ptr [rbx + 0x5008], 2     ; #PF: not there. A page of ours
        mov     rax, [rbx + 0x10]               ; and now there is nothing to wait for
        add     rax, [rbx + 0x5008]

        mov     rdi, rax
        lea     rsi, [rip + sum_text]
        call    print_text
        mov     rax, rdi
        call    print_decimal
        call    print_newline
        hlt                                     ; EXIT, the last

; #PF. On the stack: the error code, then the return address.
page_fault:
        push    rax
        push    rcx
        push    rdx
        push    rsi
        push    rdi
        lea     rsi, [rip + fault_text]
        call    print_text
        mov     rax, cr2
        mov     ecx, 9
        call    print_hex
        lea     rsi, [rip + error_text]
        call    print_text
        mov     rax, [rsp + 5 * 8]
        call    print_decimal

        ; rdi: the entry in the last table, from bits 12 to 20 of the address.
        mov     rdi, cr2
        shr     rdi, 12
        and     edi, 0x1ff
        lea     rdi, [HEAP_PT + rdi * 8]

        ; read or write?
        test    byte ptr [rsp + 5 * 8], X86_PF_WRITE
        jnz     give_page
        mov     dword ptr [rdi], ZERO_PAGE | PRESENT
        lea     rsi, [rip + zero_text]
        jmp     mapped

        ; RAM is all zeros here; a kernel that gives a used page clears it first (and copies the
        ; old one, if it was not the page of zeros).
give_page:
        lea     eax, [rbp + PRESENT + WRITABLE]
        mov     [rdi], eax
        add     ebp, 0x1000
        lea     rsi, [rip + page_text]

        ; the processor may remember an entry (TLB), and has to be told that it has changed. (This
        ; one it has forgotten: a page fault does that. Without a fault it is a must.)
mapped:
        mov     rax, cr2
        invlpg  [rax]
        call    print_text
        pop     rdi
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rax
        add     rsp, 8                          ; the error code: IRETQ does not expect it
        iretq                                   ; to the instruction that was in want of a page

idtr:
        idt_pointer64
fault_text:
        .asciz  "page fault at 0x"
error_text:
        .asciz  ", error code "
zero_text:
        .asciz  ": the page of zeros\n"
page_text:
        .asciz  ": a new page\n"
sum_text:
        .asciz  "40 + 2 = "

.set PRINT_ON_DEBUGCON, 1
.include "print.inc"
