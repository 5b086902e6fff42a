;; Does with each event what the event says, so that one component is every good and bad plugin.
;; Its config is its place in a chain, one digit; the byte at that place of the event's value is the deed.
;; All but a count the event under "n" first, so that it shows whose effects stood.
;;
;;   a accept   c accept   d drop   j emit, reject   r replace: the deed becomes a capital, the rest stays
;;   i replace by "i", how many events this instance has seen, and "n": a digit each
;;   n keep the bits of two NaNs under "nan", accept
;;   t emit, trap   f loop   h loop of host calls   m grow to the end   b grow, then fill for ever
;;   s recurse   o 3 MiB event   O text of a GiB   g a million headers
;;   q 65 keys   Q one key for ever   v value of 64 KiB and a byte   w value of a GiB
;;   e emit where it may not   E emit for ever   l a million log lines
;;   x count on what is no counter   u text that is no UTF-8   z verdict 9   y option 7
  (core module $module
    (import "lib" "memory" (memory 1))
    (import "weir" "get" (func $get (param i32 i32 i32)))
    (import "weir" "set" (func $set (param i32 i32 i32 i32 i32 i64)))
    (import "weir" "increment" (func $increment (param i32 i32 i64 i32 i64) (result i64)))
    (import "weir" "emit" (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64)))
    (import "weir" "write" (func $write (param i32 i32 i32)))
    (data (i32.const 0) "n")
    (data (i32.const 4) "x")
    (data (i32.const 8) "nan")
    (data (i32.const 16) "notices")
    (data (i32.const 32) "forbidden")
    (data (i32.const 48) "nonot today")
    (data (i32.const 64) "\ff\fe")
    (global $place (mut i32) (i32.const 0))
    (global $seen (mut i32) (i32.const 0))
    (func $count (result i64)
      (call $increment (i32.const 0) (i32.const 1) (i64.const 1) (i32.const 0) (i64.const 0)))
    (func $grow-all (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))))
    (func $deeper (param i64) (result i64)
      (i64.add (call $deeper (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
    ;; An answer: replace by this value, no key, no headers.
    (func $replace (param $at i32) (param $len i32) (result i32)
      (i32.store8 (i32.const 4096) (i32.const 1))
      (i32.store8 (i32.const 4104) (i32.const 0))
      (i32.store (i32.const 4116) (local.get $at))
      (i32.store (i32.const 4120) (local.get $len))
      (i32.store (i32.const 4124) (i32.const 0))
      (i32.store (i32.const 4128) (i32.const 0))
      (i64.store (i32.const 4136) (i64.const 0))
      (i32.const 4096))
    ;; An answer: reject with this code.
    (func $reject (param $at i32) (param $len i32) (result i32)
      (i32.store8 (i32.const 4096) (i32.const 3))
      (i32.store (i32.const 4104) (local.get $at))
      (i32.store (i32.const 4108) (local.get $len))
      (i32.store (i32.const 4112) (i32.const 50))
      (i32.store (i32.const 4116) (i32.const 9))
      (i32.store8 (i32.const 4120) (i32.const 0))
      (i32.const 4096))
    (func $verdict (param $which i32) (result i32)
      (i32.store8 (i32.const 4096) (local.get $which))
      (i32.const 4096))
    (func (export "configure") (param $at i32) (param $len i32) (result i32)
      (global.set $place (i32.and (i32.load8_u (local.get $at)) (i32.const 15)))
      (call $verdict (i32.const 0)))
    (func (export "process")
      (param $has-key i32) (param $key i32) (param $key-len i32)
      (param $value i32) (param $value-len i32)
      (param $headers i32) (param $headers-len i32)
      (param $time i64) (result i32)
      (local $deed i32)
      (local $left i32)
      (local $n i64)
      (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
      (if (i32.le_u (local.get $value-len) (global.get $place)) (then (return (call $verdict (i32.const 0)))))
      (local.set $deed (i32.load8_u (i32.add (local.get $value) (global.get $place))))
      (if (i32.eq (local.get $deed) (i32.const 97)) (then (return (call $verdict (i32.const 0)))))
      (local.set $n (call $count))
      (if (i32.eq (local.get $deed) (i32.const 100)) (then ;; d
        (return (call $verdict (i32.const 2)))))
      (if (i32.eq (local.get $deed) (i32.const 106)) (then ;; j
        (call $emit (i32.const 16) (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 0) (local.get $value) (local.get $value-len) (i32.const 0) (i32.const 0) (i64.const 0))
        (return (call $reject (i32.const 48) (i32.const 2)))))
      (if (i32.eq (local.get $deed) (i32.const 114)) (then ;; r
        (local.set $left (select (local.get $value-len) (i32.const 2048) (i32.lt_u (local.get $value-len) (i32.const 2048))))
        (memory.copy (i32.const 1024) (local.get $value) (local.get $left))
        (i32.store8 (i32.add (i32.const 1024) (global.get $place)) (i32.const 82))
        (return (call $replace (i32.const 1024) (local.get $left)))))
      (if (i32.eq (local.get $deed) (i32.const 105)) (then ;; i
        (i32.store8 (i32.const 1024) (i32.const 105))
        (i32.store8 (i32.const 1025) (i32.add (i32.const 48) (global.get $seen)))
        (i32.store8 (i32.const 1026) (i32.add (i32.const 48) (i32.wrap_i64 (local.get $n))))
        (return (call $replace (i32.const 1024) (i32.const 3)))))
      (if (i32.eq (local.get $deed) (i32.const 110)) (then ;; n
        (f64.store (i32.const 512) (f64.div (f64.const 0) (f64.const 0)))
        (f64.store (i32.const 520) (f64.add (f64.reinterpret_i64 (i64.const 0x7ff4000000000001)) (f64.const 1)))
        (call $set (i32.const 8) (i32.const 3) (i32.const 512) (i32.const 16) (i32.const 0) (i64.const 0))))
      (if (i32.eq (local.get $deed) (i32.const 116)) (then ;; t
        (call $emit (i32.const 16) (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 0) (local.get $value) (local.get $value-len) (i32.const 0) (i32.const 0) (i64.const 0))
        unreachable))
      (if (i32.eq (local.get $deed) (i32.const 102)) (then ;; f
        (loop $for-ever (br $for-ever))))
      (if (i32.eq (local.get $deed) (i32.const 104)) (then ;; h
        (loop $for-ever (call $get (i32.const 0) (i32.const 1) (i32.const 512)) (br $for-ever))))
      (if (i32.eq (local.get $deed) (i32.const 109)) (then ;; m
        (call $grow-all) unreachable))
      (if (i32.eq (local.get $deed) (i32.const 98)) (then ;; b
        (call $grow-all)
        (drop (loop $one (result i32) (br_if $one (i32.ne (memory.grow (i32.const 1)) (i32.const -1))) (i32.const 0)))
        (loop $for-ever
          (memory.fill (i32.const 65536) (i32.const 7)
            (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536)))
          (br $for-ever))))
      (if (i32.eq (local.get $deed) (i32.const 115)) (then ;; s
        (drop (call $deeper (i64.const 0)))))
      (if (i32.eq (local.get $deed) (i32.const 111)) (then ;; o
        (drop (memory.grow (i32.const 64)))
        (return (call $replace (i32.const 0) (i32.const 3145728)))))
      (if (i32.eq (local.get $deed) (i32.const 79)) (then ;; O
        (return (call $reject (i32.const 0) (i32.const 0x40000000)))))
      (if (i32.eq (local.get $deed) (i32.const 103)) (then ;; g
        (drop (memory.grow (i32.const 512)))
        (drop (call $replace (i32.const 0) (i32.const 1)))
        (i32.store (i32.const 4124) (i32.const 131072))
        (i32.store (i32.const 4128) (i32.const 1000000))
        (return (i32.const 4096))))
      (if (i32.eq (local.get $deed) (i32.const 113)) (then ;; q
        (local.set $left (i32.const 65))
        (loop $more
          (i32.store (i32.const 512) (local.get $left))
          (call $set (i32.const 512) (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 0) (i64.const 0))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if $more (local.get $left)))))
      (if (i32.eq (local.get $deed) (i32.const 81)) (then ;; Q
        (loop $for-ever (call $set (i32.const 4) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 0) (i64.const 0)) (br $for-ever))))
      (if (i32.eq (local.get $deed) (i32.const 118)) (then ;; v
        (drop (memory.grow (i32.const 2)))
        (call $set (i32.const 4) (i32.const 1) (i32.const 0) (i32.const 65537) (i32.const 0) (i64.const 0))))
      (if (i32.eq (local.get $deed) (i32.const 119)) (then ;; w
        (call $set (i32.const 4) (i32.const 1) (i32.const 0) (i32.const 0x40000000) (i32.const 0) (i64.const 0))))
      (if (i32.eq (local.get $deed) (i32.const 101)) (then ;; e
        (call $emit (i32.const 32) (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 0) (local.get $value) (local.get $value-len) (i32.const 0) (i32.const 0) (i64.const 0))))
      (if (i32.eq (local.get $deed) (i32.const 69)) (then ;; E
        (loop $for-ever (call $emit (i32.const 16) (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 0) (local.get $value) (local.get $value-len) (i32.const 0) (i32.const 0) (i64.const 0)) (br $for-ever))))
      (if (i32.eq (local.get $deed) (i32.const 108)) (then ;; l
        (local.set $left (i32.const 1000000))
        (loop $more
          (call $write (i32.const 1) (i32.const 48) (i32.const 11))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if $more (local.get $left)))))
      (if (i32.eq (local.get $deed) (i32.const 120)) (then ;; x
        (call $set (i32.const 4) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 0) (i64.const 0))
        (drop (call $increment (i32.const 4) (i32.const 1) (i64.const 1) (i32.const 0) (i64.const 0)))))
      (if (i32.eq (local.get $deed) (i32.const 117)) (then ;; u
        (return (call $reject (i32.const 64) (i32.const 2)))))
      (if (i32.eq (local.get $deed) (i32.const 122)) (then ;; z
        (return (call $verdict (i32.const 9)))))
      (if (i32.eq (local.get $deed) (i32.const 121)) (then ;; y
        (drop (call $reject (i32.const 48) (i32.const 2)))
        (i32.store8 (i32.const 4120) (i32.const 7))
        (return (i32.const 4096))))
      (call $verdict (i32.const 0))))
  (core instance $probe (instantiate $module
    (with "lib" (instance $lib)) (with "weir" (instance $weir))))
