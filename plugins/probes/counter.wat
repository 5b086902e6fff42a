;; Counts by key, for a day after the last event: accepts up to the limit, rejects what is over it.
;; The limit is the number in its config, e.g. {"limit":10}; a config without one is refused.
  (core module $module
    (import "lib" "memory" (memory 1))
    (import "weir" "increment" (func $increment (param i32 i32 i64 i32 i64) (result i64)))
    (data (i32.const 0) "limitover the limit")
    (data (i32.const 32) "give a limit")
    (global $limit (mut i64) (i64.const 0))
    (func (export "configure") (param $at i32) (param $len i32) (result i32)
      (local $digit i32)
      (block $end
        (loop $next
          (br_if $end (i32.eqz (local.get $len)))
          (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
          (if (i32.lt_u (local.get $digit) (i32.const 10))
            (then (global.set $limit
              (i64.add (i64.mul (global.get $limit) (i64.const 10)) (i64.extend_i32_u (local.get $digit))))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (local.set $len (i32.sub (local.get $len) (i32.const 1)))
          (br $next)))
      (if (i64.eqz (global.get $limit))
        (then
          (i32.store8 (i32.const 4096) (i32.const 1))
          (i32.store (i32.const 4100) (i32.const 32))
          (i32.store (i32.const 4104) (i32.const 12))))
      (i32.const 4096))
    (func (export "process")
      (param $has-key i32) (param $key i32) (param $key-len i32)
      (param $value i32) (param $value-len i32)
      (param $headers i32) (param $headers-len i32)
      (param $time i64) (result i32)
      (if (result i32)
        (i64.le_s
          (call $increment (local.get $key) (local.get $key-len) (i64.const 1) (i32.const 1) (i64.const 86400000))
          (global.get $limit))
        (then (i32.store8 (i32.const 4096) (i32.const 0)) (i32.const 4096))
        (else
          (i32.store8 (i32.const 4096) (i32.const 3))
          (i32.store (i32.const 4104) (i32.const 0))
          (i32.store (i32.const 4108) (i32.const 5))
          (i32.store (i32.const 4112) (i32.const 5))
          (i32.store (i32.const 4116) (i32.const 14))
          (i32.store8 (i32.const 4120) (i32.const 0))
          (i32.const 4096)))))
  (core instance $probe (instantiate $module
    (with "lib" (instance $lib)) (with "weir" (instance $weir))))
