; /// machine
; title = "talk to a card through its registers"
; mode = "long"
; devices = ["mmio-nic", "debugcon"]
; ///

; The card's registers are at 0xd0000000. There is no RAM behind this address; the guest
; loads and stores as if there were, and each time the machine around it answers. Printing
; goes by a port (print.inc, one exit a character) and is most of the exits of this program.

.include "machine.inc"
.include "mmio_nic.inc"

_start:
        mov     edi, MMIO_BASE

        ; who is there? Where no device is, a load reads all ones.
        lea     rsi, [rip + id_text]
        call    print_text
        mov     eax, [rdi + NIC_ID]     ; EXIT: a load, completed when we are entered again
        mov     ecx, 8
        call    print_hex
        call    print_newline

        lea     rsi, [rip + version_text]
        call    print_text
        mov     eax, [rdi + NIC_VERSION]        ; EXIT
        call    print_decimal
        call    print_newline

        ; six bytes of address in two registers, the first byte lowest.
        lea     rsi, [rip + mac_text]
        call    print_text
        mov     ebx, [rdi + NIC_MAC_HIGH]       ; EXIT
        shl     rbx, 32
        mov     eax, [rdi + NIC_MAC_LOW]        ; EXIT
        or      rbx, rax
        mov     ebp, 6
next_byte:
        mov     rax, rbx
        mov     ecx, 2
        call    print_hex
        shr     rbx, 8
        dec     ebp
        jz      scratch
        mov     al, ':'
        call    print_char
        jmp     next_byte

        ; what is stored in SCRATCH can be loaded again: the device remembers it, not the RAM.
scratch:
        call    print_newline
        lea     rsi, [rip + scratch_text]
        call    print_text
        mov     dword ptr [rdi + NIC_SCRATCH], 0xcafe   ; EXIT
        mov     eax, [rdi + NIC_SCRATCH]                ; EXIT
        mov     ecx, 4
        call    print_hex
        call    print_newline
        hlt

id_text:      .asciz "ID      0x"
version_text: .asciz "VERSION "
mac_text:     .asciz "MAC     "
scratch_text: .asciz "SCRATCH 0x"

.set PRINT_ON_DEBUGCON, 1
.include "print.inc"
