;; Writes its 16 bytes a thousand times for each event, then accepts.
  (core module $module
    (import "lib" "memory" (memory 1))
    (import "weir" "write" (func $write (param i32 i32 i32)))
    (data (i32.const 0) "0123456789abcdef")
    (func (export "configure") (param i32 i32) (result i32) (i32.const 4096))
    (func (export "process")
      (param $has-key i32) (param $key i32) (param $key-len i32)
      (param $value i32) (param $value-len i32)
      (param $headers i32) (param $headers-len i32)
      (param $time i64) (result i32)
      (local $left i32)
      (local.set $left (i32.const 1000))
      (loop $more
        (call $write (i32.const 1) (i32.const 0) (i32.const 16))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br_if $more (local.get $left)))
      (i32.store8 (i32.const 4096) (i32.const 0))
      (i32.const 4096)))
  (core instance $probe (instantiate $module
    (with "lib" (instance $lib)) (with "weir" (instance $weir))))
