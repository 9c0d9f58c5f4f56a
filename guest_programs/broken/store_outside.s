; /// machine
; title = "stores to an address where nothing is"
; mode = "long"
; devices = []
; ///

; No RAM and no device at 0xe0000000. On a PC such a store is lost without a word, and a load
; reads all ones. Here it is an exit like any store to a device, QEMU finds nobody, and says so.

_start:
        mov     edi, 0xe0000000
        mov     dword ptr [rdi], 1      ; EXIT: lost
        mov     eax, [rdi]              ; EXIT: eax = 0xffffffff
        hlt
