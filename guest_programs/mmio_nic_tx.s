; /// machine
; title = "mmio-nic: send frames, carrying every byte in"
; mode = "long"
; memory = "2M"
; devices = ["mmio-nic", "debugcon"]
; ///

; Full virtualization: a driver for a card that has no idea it is virtual.
;
; The card has no DMA: it can't reach into RAM. The driver carries each frame into the
; card's buffer, store by store, as on an NE2000 or a 3c509. For a real card such a store is one
; cycle on the bus. In a virtual machine each one is a vmexit, all the way to QEMU and back:
;
;     guest   mov [rbx + rcx], eax    no memory there: EPT violation, the guest stops
;     KVM     decodes the MOV, copies the 4 bytes into kvm_run                     copy 1
;     QEMU    KVM_RUN returns; copies them from kvm_run into the card's buffer     copy 2
;     QEMU    calls KVM_RUN; KVM enters the guest behind the MOV
;
; and when the whole frame is there, the doorbell makes QEMU write it to the host's network
; device, which copies it into the host's kernel (copy 3).
;
; What it costs, for a frame of n bytes: n/STORE_WIDTH exits for the data (and one for each
; byte of the rest), then three: length, doorbell, status.

.include "machine.inc"
.include "mmio_nic.inc"

; How many bytes one store carries: 1, 2, 4 or 8. The wider, the fewer exits a packet; the
; bytes copied are the same. 4 is what the data port of such cards takes.
.ifndef STORE_WIDTH
.set STORE_WIDTH, 4
.endif

; The register that the bytes travel in.
.if STORE_WIDTH == 8
%define WORD rax
.elseif STORE_WIDTH == 4
%define WORD eax
.elseif STORE_WIDTH == 2
%define WORD ax
.else
%define WORD al
.endif

; Registers:
;     rdi  the card's window
;     rbx  the card's buffer
;     r13  the frame's entry in the table
;     r14  frames still to send
;     rsi, edx, ecx  of one frame: its address, its length, bytes carried so far

_start:
        mov     edi, MMIO_BASE
        lea     rbx, [rdi + NIC_TX_BUFFER]

; Set up the card: 4 exits, once.

        ; is it our card, in the version we know?
        lea     rsi, [rip + no_card]
        mov     eax, [rdi + NIC_ID]                     ; EXIT
        cmp     eax, NIC_MAGIC
        jne     panic
        mov     eax, [rdi + NIC_VERSION]                ; EXIT
        cmp     eax, 1
        jne     panic

        ; whatever a driver before us left in it: begin anew.
        mov     dword ptr [rdi + NIC_CONTROL], NIC_CONTROL_RESET        ; EXIT

        ; from now on the card takes SEND.
        mov     dword ptr [rdi + NIC_CONTROL], NIC_CONTROL_TX_ENABLE    ; EXIT

; Send the frames, one after the other.

        mov     r14d, [FRAME_TABLE]
        mov     r13d, FRAME_TABLE + FRAME_TABLE_HEADER
        test    r14d, r14d
        jz      done

next_frame:
        mov     rsi, [r13 + FRAME_ADDRESS]
        mov     edx, [r13 + FRAME_LENGTH]

        ; the card takes no longer frame, and a much longer one would run over the end of its
        ; buffer while we carry it. It is left out.
        cmp     edx, NIC_MAX_FRAME
        ja      sent

        ; 1. carry the frame into the card. The load is from RAM and costs nothing; the
        ; store is the exit.
        xor     ecx, ecx
next_word:
        lea     r8d, [rcx + STORE_WIDTH]
        cmp     r8d, edx
        ja      next_byte                               ; less than a word is left
        mov     WORD, [rsi + rcx]
        mov     [rbx + rcx], WORD                       ; EXIT, 2 copies
        mov     ecx, r8d
        jmp     next_word

        ; the rest, byte by byte.
next_byte:
        cmp     ecx, edx
        jae     carried
        mov     al, [rsi + rcx]
        mov     [rbx + rcx], al                         ; EXIT, 2 copies
        inc     ecx
        jmp     next_byte

        ; 2. tell the card how much of its buffer is the frame, and ring the doorbell. The
        ; card looks at buffer and length when the doorbell rings, so it must come last. x86
        ; keeps the order of stores to a device; others need a barrier here (Linux: writel
        ; has one).
carried:
        mov     [rdi + NIC_TX_LENGTH], edx              ; EXIT
        mov     dword ptr [rdi + NIC_TX_COMMAND], NIC_TX_COMMAND_SEND   ; EXIT: QEMU sends it

        ; 3. the buffer is the card's until DONE; only then may the next frame go in. Our card
        ; has sent before the store above is over, so one look is enough. A real one would
        ; be looked at again and again: an exit each time.
wait_done:
        mov     eax, [rdi + NIC_TX_STATUS]              ; EXIT
        test    eax, NIC_TX_STATUS_DONE
        jz      wait_done
        ; a refused frame (shorter than an Ethernet header) is not tried again.

sent:
        add     r13, FRAME_ENTRY
        dec     r14d
        jnz     next_frame
done:
        hlt                                             ; EXIT

no_card:
        .asciz  "mmio_nic_tx: no mmio-nic at the first window\n"

.include "panic.inc"
