;; Makes pollables for ever and drops none.
  (import "wasi:io/poll@0.2.3" (instance $poll
    (export "pollable" (type $pollable (sub resource)))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.3" (instance $monotonic-clock
    (alias outer 1 $pollable (type $pollable'))
    (export "pollable" (type $pollable (eq $pollable')))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
  (core func $wait (canon lower (func $monotonic-clock "subscribe-duration")))
  (core instance $wasi (export "wait" (func $wait)))
  (core module $module
    (import "lib" "memory" (memory 1))
    (import "wasi" "wait" (func $wait (param i64) (result i32)))
    (func (export "configure") (param i32 i32) (result i32) (i32.const 4096))
    (func (export "process")
      (param $has-key i32) (param $key i32) (param $key-len i32)
      (param $value i32) (param $value-len i32)
      (param $headers i32) (param $headers-len i32)
      (param $time i64) (result i32)
      (loop $for-ever (drop (call $wait (i64.const 1))) (br $for-ever))
      unreachable))
  (core instance $probe (instantiate $module
    (with "lib" (instance $lib)) (with "weir" (instance $weir)) (with "wasi" (instance $wasi))))
