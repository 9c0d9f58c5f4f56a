; /// machine
; title = "2 + 2, in real mode"
; mode = "real"
; memory = "64K"
; devices = ["serial"]
; registers = { rax = 2, rbx = 2 }
; ///

; The guest of the article "Using the KVM API" (https://lwn.net/Articles/658511/), the first
; program that many people run under KVM. The processor starts in real mode: 16-bit code, as
; a PC wakes up. The two numbers come from outside: whoever creates the machine sets rax and
; rbx with ioctl(KVM_SET_REGS) before the first KVM_RUN.
;
; No port is asked whether it is ready. A virtual serial port always is; see hello_serial.s
; for what a driver does.

_start:
        mov     dx, 0x3f8               ; COM1
        add     al, bl                  ; 2 + 2; no exit: the guest's own business
        add     al, '0'                 ; the number 4 becomes the character '4'
        out     dx, al                  ; EXIT 1: KVM_EXIT_IO
        mov     al, '\n'
        out     dx, al                  ; EXIT 2: KVM_EXIT_IO
        hlt                             ; EXIT 3: KVM_EXIT_HLT
