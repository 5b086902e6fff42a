;; What stands in for WASI preview 1 in components that `weir plugin wrap` makes: an "adapter" without
;; imports of its own, so that a component built with it imports no wasi:* at all. Go and C's stdio
;; bring such imports along and a rule has no use for what is behind them.
;;
;; Output is swallowed, the clock stands still (a rule has context.now), randomness is fixed (the
;; same event must give the same verdict), there are no files, and nothing can be waited for.
;; The adapter that usually stands here calls out to wasi:clocks. Go's collector asks for the time
;; whenever it runs, also inside of cabi_realloc, where calling out is a trap: such a component dies
;; under load.
;;
;; preview1.wasm beside it is this file assembled; a test holds it to that.
(module
  (import "env" "memory" (memory 0))
  (func (export "sched_yield") (result i32) i32.const 0)
  (func (export "proc_exit") (param i32) unreachable)
  (func (export "args_get") (param i32 i32) (result i32) i32.const 0)
  (func (export "args_sizes_get") (param $n i32) (param $b i32) (result i32)
    (i32.store (local.get $n) (i32.const 0)) (i32.store (local.get $b) (i32.const 0)) (i32.const 0))
  (func (export "environ_get") (param i32 i32) (result i32) i32.const 0)
  (func (export "environ_sizes_get") (param $n i32) (param $b i32) (result i32)
    (i32.store (local.get $n) (i32.const 0)) (i32.store (local.get $b) (i32.const 0)) (i32.const 0))
  (func (export "clock_time_get") (param i32) (param i64) (param $t i32) (result i32)
    (i64.store (local.get $t) (i64.const 1000000000)) (i32.const 0))
  (func (export "clock_res_get") (param i32) (param $t i32) (result i32)
    (i64.store (local.get $t) (i64.const 1)) (i32.const 0))
  (func (export "random_get") (param $p i32) (param $n i32) (result i32) (local $i i32)
    (block $done (loop $l
      (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
      (i32.store8 (i32.add (local.get $p) (local.get $i))
        (i32.shr_u (i32.mul (i32.add (local.get $i) (i32.const 1)) (i32.const 0x9E3779B1)) (i32.const 24)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $l)))
    (i32.const 0))
  (func (export "fd_write") (param $fd i32) (param $iov i32) (param $n i32) (param $out i32) (result i32)
    (local $sum i32)
    (block $done (loop $l
      (br_if $done (i32.eqz (local.get $n)))
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $iov))))
      (local.set $iov (i32.add (local.get $iov) (i32.const 8)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br $l)))
    (i32.store (local.get $out) (local.get $sum)) (i32.const 0))
  (func (export "fd_close") (param i32) (result i32) i32.const 8)
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) i32.const 8)
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) i32.const 8)
  (func (export "fd_fdstat_get") (param i32 i32) (result i32) i32.const 8)
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) i32.const 8)
  (func (export "fd_prestat_get") (param i32 i32) (result i32) i32.const 8)
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) i32.const 8)
  (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32) i32.const 58)
  (func (export "adapter_monotonic_clock_set_paused") (param i32))
)
