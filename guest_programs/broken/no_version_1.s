; /// machine
; title = "virtio-net: does not accept VERSION_1"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; expect = "shutdown"
; ///

; The driver takes no feature at all, as before VIRTIO 1.0. The device has no old interface to
; offer: it leaves FEATURES_OK clear. The driver reads it back, as it must, and gives up.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        mov     dword ptr [rdi + VIRTIO_MMIO_STATUS], 0
        mov     ebp, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER
        mov     [rdi + VIRTIO_MMIO_STATUS], ebp
        ; here the bit VIRTIO_F_VERSION_1 is missing
        or      ebp, VIRTIO_CONFIG_S_FEATURES_OK
        mov     [rdi + VIRTIO_MMIO_STATUS], ebp
        lea     rsi, [rip + no_features]
        mov     eax, [rdi + VIRTIO_MMIO_STATUS]
        test    eax, VIRTIO_CONFIG_S_FEATURES_OK
        jz      panic
        hlt

.include "virtio_net_init.inc"
