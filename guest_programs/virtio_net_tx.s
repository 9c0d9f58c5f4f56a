; /// machine
; title = "virtio-net: send frames that stay where they are"
; mode = "long"
; memory = "2M"
; devices = ["virtio-net", "debugcon"]
; ///

; Para-virtualization: a driver for a device that was made to be virtual.
;
; Driver and device share the guest's RAM: QEMU runs on the same machine and has it mapped.
; So nothing is carried. The driver writes down *where* the frame is, and kicks the device
; once; the device reads the note, and hands the frame to the host's kernel from where it
; lies (the only copy of its bytes). Three parts, all in RAM, all plain memory to the guest:
;
;     descriptor table   where the pieces of a packet are; written by us
;     available ring     packets we give to the device; written by us, read by the device
;     used ring          packets the device is done with; written by the device, read by us
;
; What it costs, for a frame of any length: one exit, the kick.
;
; Specification: VIRTIO 1.2. Set up: 3.1.1 and 4.2.3. Rings: 2.7. Network device: 5.1.

.include "machine.inc"
.include "virtio.inc"

; Slots of the rings: a power of two. The indices count on and on, and are cut to the number
; of a slot only when a slot is looked up: `idx & (QUEUE_SIZE - 1)`. Eight are plenty for one
; packet at a time, and few enough to watch them go round.
.ifndef QUEUE_SIZE
.set QUEUE_SIZE, 8
.endif

; The queue's three parts, one behind the other in RAM that nobody else uses (alignment: 16, 2
; and 4). The device gets physical addresses; our page tables map each address to itself.
.set VIRTQ_DESC,  0x20000                           ; 16 bytes for each descriptor
.set VIRTQ_AVAIL, VIRTQ_DESC + 16 * QUEUE_SIZE      ; 6, and 2 for each slot (and 2 to align)
.set VIRTQ_USED,  VIRTQ_AVAIL + 8 + 2 * QUEUE_SIZE  ; 6, and 8 for each slot (and 2 to align)
.set VIRTQ_END,   VIRTQ_USED + 8 + 8 * QUEUE_SIZE

; Registers:
;     rdi  the device's window
;     ebp  the device's status, as far as we have brought it
;     bx   our avail.idx: how many packets we have given to the device, modulo 65536
;     r13  the frame's entry in the table
;     r14  frames still to send

_start:
        mov     edi, MMIO_BASE

; Set up the device: 27 exits, once.

        ; is it a virtio network device?
        lea     rsi, [rip + no_device]
        mov     eax, [rdi + VIRTIO_MMIO_MAGIC_VALUE]    ; EXIT
        cmp     eax, VIRTIO_MAGIC
        jne     panic
        mov     eax, [rdi + VIRTIO_MMIO_VERSION]        ; EXIT
        cmp     eax, VIRTIO_VERSION
        jne     panic
        mov     eax, [rdi + VIRTIO_MMIO_DEVICE_ID]      ; EXIT
        cmp     eax, VIRTIO_ID_NET
        jne     panic

        ; step 1 (of 3.1.1): reset the device. It forgets all queues and features; it has done
        ; so when Status reads 0.
        mov     dword ptr [rdi + VIRTIO_MMIO_STATUS], 0                 ; EXIT
wait_reset:
        mov     eax, [rdi + VIRTIO_MMIO_STATUS]                         ; EXIT
        test    eax, eax
        jnz     wait_reset

        ; step 2: ACKNOWLEDGE, we have noticed the device.
        ; step 3: DRIVER, we know how to drive it. Status bits only ever come on top.
        mov     ebp, VIRTIO_CONFIG_S_ACKNOWLEDGE
        mov     [rdi + VIRTIO_MMIO_STATUS], ebp         ; EXIT
        or      ebp, VIRTIO_CONFIG_S_DRIVER
        mov     [rdi + VIRTIO_MMIO_STATUS], ebp         ; EXIT

        ; step 4: read what the device offers, write what we take of it, 32 bits at a time.
        ; Of bits 0 to 31 (checksums, event index, indirect descriptors, ...) we take nothing,
        ; so we need not read them.
        mov     dword ptr [rdi + VIRTIO_MMIO_DRIVER_FEATURES_SEL], 0    ; EXIT
        mov     dword ptr [rdi + VIRTIO_MMIO_DRIVER_FEATURES], 0        ; EXIT

        ; of bits 32 to 63 we take VERSION_1: without it we would be a driver of old times,
        ; with another header and another byte order.
        mov     dword ptr [rdi + VIRTIO_MMIO_DEVICE_FEATURES_SEL], 1    ; EXIT
        mov     eax, [rdi + VIRTIO_MMIO_DEVICE_FEATURES]                ; EXIT
        and     eax, 1 << (VIRTIO_F_VERSION_1 - 32)
        mov     dword ptr [rdi + VIRTIO_MMIO_DRIVER_FEATURES_SEL], 1    ; EXIT
        mov     [rdi + VIRTIO_MMIO_DRIVER_FEATURES], eax                ; EXIT

        ; step 5: FEATURES_OK, our choice is final.
        ; step 6: read it back. The device clears the bit if it can't work with our choice,
        ; and this is the only way it has of saying so.
        lea     rsi, [rip + no_features]
        or      ebp, VIRTIO_CONFIG_S_FEATURES_OK
        mov     [rdi + VIRTIO_MMIO_STATUS], ebp         ; EXIT
        mov     eax, [rdi + VIRTIO_MMIO_STATUS]         ; EXIT
        test    eax, VIRTIO_CONFIG_S_FEATURES_OK
        jz      panic

        ; step 7: the queues. Sending needs queue 1 only. It must not be in use, and large
        ; enough for us (0: there is no such queue).
        lea     rsi, [rip + no_queue]
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_SEL], VIRTIO_NET_TRANSMITQ ; EXIT
        mov     eax, [rdi + VIRTIO_MMIO_QUEUE_READY]    ; EXIT
        test    eax, eax
        jnz     panic
        mov     eax, [rdi + VIRTIO_MMIO_QUEUE_NUM_MAX]  ; EXIT
        cmp     eax, QUEUE_SIZE
        jb      panic

        ; the device will begin with index 0 on its side: so must the rings.
        mov     r8, rdi
        mov     edi, VIRTQ_DESC
        mov     ecx, (VIRTQ_END - VIRTQ_DESC) / 8
        xor     eax, eax
        rep stosq                                       ; rings = 0
        mov     rdi, r8

        ; tell it the size of the queue, and where its parts are.
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NUM], QUEUE_SIZE           ; EXIT
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DESC_LOW], VIRTQ_DESC      ; EXIT
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DESC_HIGH], 0              ; EXIT
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DRIVER_LOW], VIRTQ_AVAIL   ; EXIT
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DRIVER_HIGH], 0            ; EXIT
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DEVICE_LOW], VIRTQ_USED    ; EXIT
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DEVICE_HIGH], 0            ; EXIT

        ; the queue is ready: from here on the device may read the rings, and size and
        ; addresses stay as they are.
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_READY], 1                  ; EXIT

        ; step 8: DRIVER_OK. The device is live.
        or      ebp, VIRTIO_CONFIG_S_DRIVER_OK
        mov     [rdi + VIRTIO_MMIO_STATUS], ebp         ; EXIT

        ; we shall look at the used ring ourselves: tell the device not to interrupt us. (It
        ; may all the same; this is advice, not a lock.)
        mov     word ptr [VIRTQ_AVAIL + VIRTQ_AVAIL_FLAGS], VIRTQ_AVAIL_F_NO_INTERRUPT

        ; every packet is a chain of two descriptors, and there is one packet at a time: so
        ; descriptors 0 and 1 do for all of them. Number 0 is the header that the device wants
        ; before each frame. It asks for nothing special (all zero), and the device only reads
        ; it: one header for all frames.
        mov     eax, offset header
        mov     [VIRTQ_DESC + VIRTQ_DESC_ADDR], rax
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_LEN], VIRTIO_NET_HDR_SIZE
        mov     word ptr [VIRTQ_DESC + VIRTQ_DESC_FLAGS], VIRTQ_DESC_F_NEXT
        mov     word ptr [VIRTQ_DESC + VIRTQ_DESC_NEXT], 1

; Send the frames, one after the other.

        xor     ebx, ebx
        mov     r14d, [FRAME_TABLE]
        mov     r13d, FRAME_TABLE + FRAME_TABLE_HEADER
        test    r14d, r14d
        jz      done

next_frame:
        mov     rsi, [r13 + FRAME_ADDRESS]
        mov     edx, [r13 + FRAME_LENGTH]

        ; 1. descriptor 1 is the frame, where it lies. Its flags stay 0: the device reads it,
        ; and the chain ends here.
        mov     [VIRTQ_DESC + VIRTQ_DESC_SIZE + VIRTQ_DESC_ADDR], rsi
        mov     [VIRTQ_DESC + VIRTQ_DESC_SIZE + VIRTQ_DESC_LEN], edx

        ; 2. the next slot of the available ring gets the head of the chain: descriptor 0.
        mov     eax, ebx
        and     eax, QUEUE_SIZE - 1
        mov     word ptr [VIRTQ_AVAIL + VIRTQ_AVAIL_RING + rax*2], 0

        ; 3. publish it: avail.idx moves past the slot. The device may look at any moment, on
        ; another processor, kicked or not; so this store must come after those of 1 and 2.
        ; x86 keeps the order of its stores. Others need a barrier here, and in C the compiler
        ; does (Linux: virtio_wmb).
        inc     ebx
        mov     [VIRTQ_AVAIL + VIRTQ_AVAIL_IDX], bx

        ; 4. does the device want a kick? It has it switched off while it is at work anyway.
        ; This load must not be done before the store of 3, or we could miss that the device
        ; has just switched it on and gone to sleep. A later load before an earlier store:
        ; that is the one thing x86 does turn round, so even here it takes a barrier
        ; (virtio_mb).
        mfence
        test    word ptr [VIRTQ_USED + VIRTQ_USED_FLAGS], VIRTQ_USED_F_NO_NOTIFY
        jnz     wait_used

        ; 5. the kick: "look at queue 1". The only exit of the packet. QEMU finds our slot,
        ; follows the chain, and writev()s the frame out of our RAM into the host's kernel.
        ; Then it puts the head into the used ring and moves used.idx past it.
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ ; EXIT

        ; 6. the descriptors are the device's until it says that it has used them. Looking
        ; costs no exit: used.idx is in RAM. (Our device has done it before we are back. One
        ; that has given up never does: a driver that must not hang looks at Status now and
        ; then for DEVICE_NEEDS_RESET.)
wait_used:
        cmp     [VIRTQ_USED + VIRTQ_USED_IDX], bx
        je      sent
        pause
        jmp     wait_used

        ; only now may descriptor 1 be written again. x86 does no store before an earlier
        ; load; others need a barrier here, too (virtio_rmb).
sent:
        add     r13, FRAME_ENTRY
        dec     r14d
        jnz     next_frame
done:
        hlt                                             ; EXIT

header:
        .zero   VIRTIO_NET_HDR_SIZE                     ; struct virtio_net_hdr

no_device:
        .asciz  "virtio_net_tx: no virtio network device at the first window\n"
no_features:
        .asciz  "virtio_net_tx: the device does not accept our features\n"
no_queue:
        .asciz  "virtio_net_tx: no queue to transmit, or one too small\n"

.include "panic.inc"
