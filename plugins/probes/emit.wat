;; Emits the event as it is: to the topic that is its key, once for each millisecond of its timestamp.
  (core module $module
    (import "lib" "memory" (memory 1))
    (import "weir" "emit" (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64)))
    (func (export "configure") (param i32 i32) (result i32) (i32.const 4096))
    (func (export "process")
      (param $has-key i32) (param $key i32) (param $key-len i32)
      (param $value i32) (param $value-len i32)
      (param $headers i32) (param $headers-len i32)
      (param $time i64) (result i32)
      (block $end
        (loop $next
          (br_if $end (i64.eqz (local.get $time)))
          (call $emit (local.get $key) (local.get $key-len)
            (i32.const 0) (i32.const 0) (i32.const 0) (local.get $value) (local.get $value-len)
            (i32.const 0) (i32.const 0) (local.get $time))
          (local.set $time (i64.sub (local.get $time) (i64.const 1)))
          (br $next)))
      (i32.store8 (i32.const 4096) (i32.const 0))
      (i32.const 4096)))
  (core instance $probe (instantiate $module
    (with "lib" (instance $lib)) (with "weir" (instance $weir))))
