;; Does what the event's value says, a row of 8-byte words, and shows what it read: the twin of the
;; rule in tests/tests/plugins/fake_host.rs.
;;
;;   | op u8 | key u8 | ttl in 100 ms u8, 0: none | 5 bytes |
;;   1 set key to the 5 bytes     2 set key to the word      3 delete key
;;   4 add the first of the 5 to the counter, show it        5 show key: length and bytes, or 255
;;   6 emit the word to "notices"  7 to "forbidden"          8 log "said"
;;   9 set a key of 257 bytes     10 show one                11 trap
;;   12 accept   13 replace by what was shown (the default)  14 drop   15 reject
  (core module $module
    (import "lib" "memory" (memory 1))
    (import "weir" "get" (func $get (param i32 i32 i32)))
    (import "weir" "set" (func $set (param i32 i32 i32 i32 i32 i64)))
    (import "weir" "delete" (func $delete (param i32 i32)))
    (import "weir" "increment" (func $increment (param i32 i32 i64 i32 i64) (result i64)))
    (import "weir" "emit" (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64)))
    (import "weir" "write" (func $write (param i32 i32 i32)))
    (data (i32.const 16) "notices")
    (data (i32.const 32) "forbidden")
    (data (i32.const 48) "no")
    (data (i32.const 64) "said")
    (func (export "configure") (param i32 i32) (result i32)
      (i32.store8 (i32.const 4096) (i32.const 0)) (i32.const 4096))
    (func $emit-to (param $topic i32) (param $len i32) (param $word i32)
      (call $emit (local.get $topic) (local.get $len) (i32.const 0) (i32.const 0) (i32.const 0)
        (local.get $word) (i32.const 8) (i32.const 0) (i32.const 0) (i64.const 0)))
    ;; Shows a key behind $out, and says where the next thing goes.
    (func $show (param $key i32) (param $len i32) (param $out i32) (result i32)
      (call $get (local.get $key) (local.get $len) (i32.const 512))
      (if (i32.eqz (i32.load8_u (i32.const 512)))
        (then
          (i32.store8 (local.get $out) (i32.const 255))
          (return (i32.add (local.get $out) (i32.const 1)))))
      (i32.store8 (local.get $out) (i32.load (i32.const 520)))
      (memory.copy (i32.add (local.get $out) (i32.const 1)) (i32.load (i32.const 516)) (i32.load (i32.const 520)))
      (i32.add (i32.add (local.get $out) (i32.const 1)) (i32.load (i32.const 520))))
    (func (export "process")
      (param $has-key i32) (param $key i32) (param $key-len i32)
      (param $value i32) (param $value-len i32)
      (param $headers i32) (param $headers-len i32)
      (param $time i64) (result i32)
      (local $op i32) (local $out i32) (local $some i32) (local $ttl i64) (local $at i32) (local $verdict i32)
      (local.set $out (i32.const 1024))
      (local.set $verdict (i32.const 1))
      (block $end
        (loop $next
          (br_if $end (i32.lt_u (local.get $value-len) (i32.const 8)))
          (local.set $op (i32.load8_u (local.get $value)))
          (local.set $at (i32.add (local.get $value) (i32.const 1)))
          (local.set $ttl (i64.mul (i64.load8_u (i32.add (local.get $value) (i32.const 2))) (i64.const 100)))
          (local.set $some (i64.ne (local.get $ttl) (i64.const 0)))
          (if (i32.eq (local.get $op) (i32.const 1)) (then
            (call $set (local.get $at) (i32.const 1) (i32.add (local.get $value) (i32.const 3)) (i32.const 5) (local.get $some) (local.get $ttl))))
          (if (i32.eq (local.get $op) (i32.const 2)) (then
            (call $set (local.get $at) (i32.const 1) (local.get $value) (i32.const 8) (local.get $some) (local.get $ttl))))
          (if (i32.eq (local.get $op) (i32.const 3)) (then (call $delete (local.get $at) (i32.const 1))))
          (if (i32.eq (local.get $op) (i32.const 4)) (then
            (i64.store (local.get $out)
              (call $increment (local.get $at) (i32.const 1)
                (i64.load8_s (i32.add (local.get $value) (i32.const 3))) (local.get $some) (local.get $ttl)))
            (local.set $out (i32.add (local.get $out) (i32.const 8)))))
          (if (i32.eq (local.get $op) (i32.const 5)) (then
            (local.set $out (call $show (local.get $at) (i32.const 1) (local.get $out)))))
          (if (i32.eq (local.get $op) (i32.const 6)) (then (call $emit-to (i32.const 16) (i32.const 7) (local.get $value))))
          (if (i32.eq (local.get $op) (i32.const 7)) (then (call $emit-to (i32.const 32) (i32.const 9) (local.get $value))))
          (if (i32.eq (local.get $op) (i32.const 8)) (then (call $write (i32.const 1) (i32.const 64) (i32.const 4))))
          (if (i32.eq (local.get $op) (i32.const 9)) (then
            (call $set (i32.const 2048) (i32.const 257) (local.get $value) (i32.const 8) (local.get $some) (local.get $ttl))))
          (if (i32.eq (local.get $op) (i32.const 10)) (then
            (local.set $out (call $show (i32.const 2048) (i32.const 257) (local.get $out)))))
          (if (i32.eq (local.get $op) (i32.const 11)) (then unreachable))
          (if (i32.ge_u (local.get $op) (i32.const 12)) (then
            (local.set $verdict (i32.sub (local.get $op) (i32.const 12)))))
          (local.set $value (i32.add (local.get $value) (i32.const 8)))
          (local.set $value-len (i32.sub (local.get $value-len) (i32.const 8)))
          (br $next)))
      (i32.store8 (i32.const 4096) (local.get $verdict))
      (if (i32.eq (local.get $verdict) (i32.const 1)) (then
        (i32.store8 (i32.const 4104) (i32.const 0))
        (i32.store (i32.const 4116) (i32.const 1024))
        (i32.store (i32.const 4120) (i32.sub (local.get $out) (i32.const 1024)))
        (i32.store (i32.const 4124) (i32.const 0))
        (i32.store (i32.const 4128) (i32.const 0))
        (i64.store (i32.const 4136) (local.get $time))))
      (if (i32.eq (local.get $verdict) (i32.const 3)) (then
        (i32.store (i32.const 4104) (i32.const 48))
        (i32.store (i32.const 4108) (i32.const 2))
        (i32.store (i32.const 4112) (i32.const 48))
        (i32.store (i32.const 4116) (i32.const 2))
        (i32.store8 (i32.const 4120) (i32.const 0))))
      (i32.const 4096)))
  (core instance $probe (instantiate $module
    (with "lib" (instance $lib)) (with "weir" (instance $weir))))
