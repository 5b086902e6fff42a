;; Sets as many keys as the timestamp says, each to the event's value. Keys are 8 bytes.
  (core module $module
    (import "lib" "memory" (memory 1))
    (import "weir" "set" (func $set (param i32 i32 i32 i32 i32 i64)))
    (func (export "configure") (param i32 i32) (result i32) (i32.const 4096))
    (func (export "process")
      (param $has-key i32) (param $key i32) (param $key-len i32)
      (param $value i32) (param $value-len i32)
      (param $headers i32) (param $headers-len i32)
      (param $time i64) (result i32)
      (block $end
        (loop $more
          (br_if $end (i64.eqz (local.get $time)))
          (i64.store (i32.const 0) (local.get $time))
          (call $set (i32.const 0) (i32.const 8) (local.get $value) (local.get $value-len) (i32.const 0) (i64.const 0))
          (local.set $time (i64.sub (local.get $time) (i64.const 1)))
          (br $more)))
      (i32.store8 (i32.const 4096) (i32.const 0))
      (i32.const 4096)))
  (core instance $probe (instantiate $module
    (with "lib" (instance $lib)) (with "weir" (instance $weir))))
