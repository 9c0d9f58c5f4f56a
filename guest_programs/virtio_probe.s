; /// machine
; title = "virtio: find a device and read what it offers"
; mode = "long"
; devices = ["virtio-net", "serial"]
; ///

; The first look at a virtio device (VIRTIO 1.2, 4.2.2 and 4.2.3.1). Nothing is set up yet;
; reading these registers changes nothing in the device.

.include "machine.inc"
.include "serial.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE

        ; "virt", or somebody else's device (or nobody: all ones).
        lea     rsi, [rip + magic_text]
        mov     ebx, [rdi + VIRTIO_MMIO_MAGIC_VALUE]    ; EXIT
        call    print_line
        cmp     ebx, VIRTIO_MAGIC
        jne     done

        lea     rsi, [rip + version_text]
        mov     ebx, [rdi + VIRTIO_MMIO_VERSION]        ; EXIT
        call    print_line
        lea     rsi, [rip + device_text]
        mov     ebx, [rdi + VIRTIO_MMIO_DEVICE_ID]      ; EXIT
        call    print_line
        lea     rsi, [rip + vendor_text]
        mov     ebx, [rdi + VIRTIO_MMIO_VENDOR_ID]      ; EXIT
        call    print_line

        ; more features than a register has bits: choose 32, then read them.
        lea     rsi, [rip + features0_text]
        mov     dword ptr [rdi + VIRTIO_MMIO_DEVICE_FEATURES_SEL], 0    ; EXIT
        mov     ebx, [rdi + VIRTIO_MMIO_DEVICE_FEATURES]                ; EXIT
        call    print_line
        lea     rsi, [rip + features1_text]
        mov     dword ptr [rdi + VIRTIO_MMIO_DEVICE_FEATURES_SEL], 1    ; EXIT
        mov     ebx, [rdi + VIRTIO_MMIO_DEVICE_FEATURES]                ; EXIT
        call    print_line
done:
        hlt

; Print the text at rsi and ebx in hexadecimal.
print_line:
        call    print_text
        mov     eax, ebx
        mov     ecx, 8
        call    print_hex
        jmp     print_newline

magic_text:     .asciz "magic          0x"
version_text:   .asciz "version        0x"
device_text:    .asciz "device id      0x"
vendor_text:    .asciz "vendor id      0x"
features0_text: .asciz "features 0-31  0x"
features1_text: .asciz "features 32-63 0x"

.include "print.inc"
