; /// machine
; title = "virtio-net: receive frames by interrupt"
; mode = "long"
; memory = "2M"
; frames = "wire"
; devices = ["pic", "virtio-net", "debugcon"]
; registers = { r12 = 0 }
; ///

; The way back. Nobody knows when a frame will come in, so two things are different from
; sending: the driver gives the device empty buffers *beforehand*, and then it sleeps. Who does
; what, when a frame comes:
;
;     host    the frame is in the tap; QEMU's main loop wakes and reads it             copy 1
;     QEMU    takes a buffer from the available ring, copies the frame into our RAM    copy 2
;     QEMU    puts the buffer into the used ring, and raises the interrupt line
;     KVM     wakes the vCPU and injects the interrupt at the next VM entry
;     guest   finds the frame in its own RAM: looking at it costs nothing
;
; What it costs, for a frame of any length: HLT, InterruptStatus, InterruptACK, EOI. If more
; than one frame has come by the time the handler looks, they share these four.
;
; Specification: VIRTIO 1.2. Rings: 2.7. Interrupts: 4.2.3.4. Receiving: 5.1.6.3, 5.1.6.4.

.include "machine.inc"
.include "virtio.inc"

; With `.set EVENT_IDX, 1` here, driver and device tell each other by an index, not by a flag,
; when they want to hear of the other next (VIRTIO_F_EVENT_IDX).
.ifndef EVENT_IDX
.set EVENT_IDX, 0
.endif
.set VIRTIO_NET_FEATURES, EVENT_IDX << VIRTIO_F_EVENT_IDX

; Buffers that wait for frames, one for each slot of the ring. So many frames can come in
; before the handler has had its turn; what comes then has to wait in the host.
.ifndef QUEUE_SIZE
.set QUEUE_SIZE, 64
.endif
.set BUFFERS, 0x30000
.set BUFFER_SHIFT, 11                           ; 2 KiB from one to the next: enough for 1526

; Registers:
;     rdi  the device's window
;     bx   our avail.idx: how many buffers we have given to the device, modulo 65536
;     r15w how far we have come in the used ring, modulo 65536
;     r12  frames still to wait for; 0 at the start: without end
;     r13  frames received
;     r14  their bytes

_start:
        mov     edi, MMIO_BASE
        xor     r13d, r13d
        xor     r14d, r14d
        xor     r15d, r15d

; Set up: steps 1 to 7 as in virtio_net_tx.s, here for queue 0. Then the interrupt's way: the
; device's line, the interrupt controller, the gate in the IDT.

        call    virtio_net_negotiate    ; 15 EXITs, once (17 with EVENT_IDX)
        call    virtio_net_add_receiveq ; 11 EXITs, once
        call    card_irq_init           ; 12 EXITs, lightweight, once

        ; 1. a descriptor for each buffer. The device is to write into it (header and frame),
        ; hence F_WRITE. Descriptor n is buffer n and will be for ever.
        mov     eax, BUFFERS
        xor     ecx, ecx
next_buffer:
        mov     edx, ecx
        shl     edx, 4                                  ; * VIRTQ_DESC_SIZE
        mov     [RXQ_DESC + VIRTQ_DESC_ADDR + rdx], rax
        mov     dword ptr [RXQ_DESC + VIRTQ_DESC_LEN + rdx], VIRTIO_NET_RX_BUFFER_SIZE
        mov     word ptr [RXQ_DESC + VIRTQ_DESC_FLAGS + rdx], VIRTQ_DESC_F_WRITE

        ; 2. all of them into the available ring.
        mov     [RXQ_AVAIL + VIRTQ_AVAIL_RING + rcx*2], cx
        add     eax, 1 << BUFFER_SHIFT
        inc     ecx
        cmp     ecx, QUEUE_SIZE
        jb      next_buffer

        ; 3. publish them with one store, after those of 1 and 2.
        mov     ebx, QUEUE_SIZE
        mov     [RXQ_AVAIL + VIRTQ_AVAIL_IDX], bx

        ; 4. step 8: DRIVER_OK, and not before it the kick: "there are buffers".
        call    virtio_net_driver_ok    ; 1 EXIT, once
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_RECEIVEQ ; EXIT

; Nothing more to do out here. STI lets no interrupt in before the next instruction is over, so
; that none can come between the two, be handled, and leave us to sleep for ever.

sleep:
        sti
        hlt                             ; EXIT, lightweight: we sleep in KVM
        jmp     sleep

; The interrupt. As all else only sleeps, the registers are the handler's; interrupts are off in
; it until IRETQ.

interrupt:
        ; 5. what has happened? A driver has to ask (4.2.3.4.1): a frame may have come in, or the
        ; device have a new configuration to tell of.
        mov     eax, [rdi + VIRTIO_MMIO_INTERRUPT_STATUS]       ; EXIT

        ; 6. tell the device that we have seen it: it lets its line down. That must come before
        ; the look into the ring. The device may add frames at any moment: those before the
        ; acknowledgement we are about to see, those after it raise the line anew. The other
        ; way round one in between would be seen by nobody.
        mov     [rdi + VIRTIO_MMIO_INTERRUPT_ACK], eax          ; EXIT
        test    eax, VIRTIO_MMIO_INT_VRING
        jz      handled

.if !EVENT_IDX
        ; while we are at it anyway, further interrupts would tell us nothing. (With EVENT_IDX
        ; there is nothing to do: used_event is behind us until step 9.)
        mov     word ptr [RXQ_AVAIL + VIRTQ_AVAIL_FLAGS], VIRTQ_AVAIL_F_NO_INTERRUPT
.endif

        ; 7. each used buffer has a header and a frame, together `len` bytes. It is ours again.
next_frame:
        cmp     [RXQ_USED + VIRTQ_USED_IDX], r15w
        je      publish
        mov     eax, r15d
        and     eax, QUEUE_SIZE - 1
        mov     ecx, [RXQ_USED + VIRTQ_USED_RING + VIRTQ_USED_ELEM_ID + rax*8]
        mov     edx, [RXQ_USED + VIRTQ_USED_RING + VIRTQ_USED_ELEM_LEN + rax*8]
        inc     r15d

        ; here a network stack would get the frame: edx bytes at rsi. We count.
        mov     esi, ecx
        shl     esi, BUFFER_SHIFT
        add     esi, BUFFERS + VIRTIO_NET_HDR_SIZE
        sub     edx, VIRTIO_NET_HDR_SIZE
        add     r14, rdx
        inc     r13
        dec     r12
        jz      done

        ; the buffer goes into the available ring again, its descriptor is as it was.
        mov     eax, ebx
        and     eax, QUEUE_SIZE - 1
        mov     [RXQ_AVAIL + VIRTQ_AVAIL_RING + rax*2], cx
        inc     ebx
        jmp     next_frame

        ; 8. publish the returned buffers, and kick if the device has run out of them and waits.
publish:
.if EVENT_IDX
        ; it waits for the entry number avail_event. Did we write that one just now?
        ; (new - event - 1) < (new - old) says so, in 16 bits.
        mov     edx, ebx
        sub     dx, [RXQ_AVAIL + VIRTQ_AVAIL_IDX]       ; new - old
        mov     [RXQ_AVAIL + VIRTQ_AVAIL_IDX], bx
        mfence
        mov     eax, ebx
        sub     ax, [RXQ_AVAIL_EVENT]
        dec     eax                                     ; new - event - 1
        cmp     ax, dx
        jae     listen
.else
        mov     [RXQ_AVAIL + VIRTQ_AVAIL_IDX], bx
        mfence
        test    word ptr [RXQ_USED + VIRTQ_USED_FLAGS], VIRTQ_USED_F_NO_NOTIFY
        jnz     listen
.endif
        call    kick

        ; 9. from now on we want to hear of the next frame. It may have come between our last
        ; look and this store, and the device have kept quiet as it was told to: so look again.
listen:
.if EVENT_IDX
        mov     [RXQ_USED_EVENT], r15w                  ; "interrupt me for used entry r15"
.else
        mov     word ptr [RXQ_AVAIL + VIRTQ_AVAIL_FLAGS], 0
.endif
        mfence
        cmp     [RXQ_USED + VIRTQ_USED_IDX], r15w
        jne     next_frame

        ; 10. the interrupt controller may let the next one through.
handled:
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al                      ; EXIT, lightweight
        iretq

done:
        hlt                                             ; EXIT, lightweight; IF=0: for good

; An exit when it comes to that. With buffers enough the device never waits, and it never does.
kick:
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_RECEIVEQ
        ret

.include "virtio_net_init.inc"
.include "card_irq.inc"
