; /// machine
; title = "counts down past zero, for ever"
; mode = "long"
; devices = []
; expect = "budget"
; ///

; From 7 in steps of 2: 5, 3, 1, -1, ... An odd number never becomes 0, not even when it wraps
; round. No exit and no output: from outside, the guest is just busy.

_start:
        mov     ecx, 7
next:
        sub     ecx, 2
        jnz     next
        hlt
