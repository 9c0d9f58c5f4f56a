; /// machine
; title = "divides by zero, and nobody handles the exception"
; mode = "long"
; devices = []
; expect = "shutdown"
; ///

; DIV by zero is exception 0, #DE. There is no interrupt descriptor table, so nobody handles it,
; nor the double fault after it: a triple fault, and the machine shuts down.

_start:
        xor     edx, edx
        mov     eax, 1
        xor     ecx, ecx
        div     ecx
        hlt                             ; never reached
