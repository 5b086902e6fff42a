;; Rejects with no code, and with a message as long as the event's value: the value itself.
  (core module $module
    (import "lib" "memory" (memory 1))
    (func (export "configure") (param i32 i32) (result i32) (i32.const 4096))
    (func (export "process")
      (param $has-key i32) (param $key i32) (param $key-len i32)
      (param $value i32) (param $value-len i32)
      (param $headers i32) (param $headers-len i32)
      (param $time i64) (result i32)
      (i32.store8 (i32.const 4096) (i32.const 3))
      (i32.store (i32.const 4104) (i32.const 0))
      (i32.store (i32.const 4108) (i32.const 0))
      (i32.store (i32.const 4112) (local.get $value))
      (i32.store (i32.const 4116) (local.get $value-len))
      (i32.const 4096)))
  (core instance $probe (instantiate $module
    (with "lib" (instance $lib)) (with "weir" (instance $weir))))
