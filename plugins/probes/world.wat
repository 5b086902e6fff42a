;; The shell of every probe: world weir:plugin/filter by hand, so that tests need no compiler. It is
;; that of 0.1.0, which every later 0.1 has to link; what came later, a probe exports itself.
;; A probe's text goes where PROBE stands. It defines $probe, a core instance that exports
;;   configure(config ptr, len) -> ptr of result<_, string>
;;   process(key some?, ptr, len, value ptr, len, headers ptr, len, timestamp) -> ptr of verdict
;;
;; memory   0 ..  4096   the probe's own data
;;       4096 ..  8192   its answers:  | verdict u8 | 7 B | payload |
;;       8192 ..         what is passed in; given back after each call
;;
;; payload of 1 replace:  key some? @8 ptr @12 len @16, value @20 @24, headers @28 @32, time @40
;; payload of 3 reject:   code @8 @12, message @16 @20, retry-after some? @24 ms @32
(component
  (import "weir:plugin/types@0.1.0" (instance $types
    (type $header' (record (field "name" string) (field "value" (list u8))))
    (export "header" (type $header (eq $header')))
    (type $event' (record
      (field "key" (option (list u8)))
      (field "value" (list u8))
      (field "headers" (list $header))
      (field "timestamp" u64)))
    (export "event" (type $event (eq $event')))
    (type $rejection' (record
      (field "code" string)
      (field "message" string)
      (field "retry-after-ms" (option u64))))
    (export "rejection" (type $rejection (eq $rejection')))
    (type $verdict' (variant
      (case "accept") (case "replace" $event) (case "drop") (case "reject" $rejection)))
    (export "verdict" (type $verdict (eq $verdict')))))
  (alias export $types "event" (type $event'))
  (alias export $types "verdict" (type $verdict'))
  (import "event" (type $event (eq $event')))
  (import "verdict" (type $verdict (eq $verdict')))

  (import "weir:plugin/context@0.1.0" (instance $context
    (export "now" (func (result u64)))
    (export "topic" (func (result string)))
    (export "partition" (func (result u32)))
    (export "publisher" (func (result string)))))
  (import "weir:plugin/state@0.1.0" (instance $state
    (export "get" (func (param "key" (list u8)) (result (option (list u8)))))
    (export "set" (func (param "key" (list u8)) (param "value" (list u8)) (param "ttl-ms" (option u64))))
    (export "delete" (func (param "key" (list u8))))
    (export "increment" (func (param "key" (list u8)) (param "by" s64) (param "ttl-ms" (option u64)) (result s64)))))
  (import "weir:plugin/outbox@0.1.0" (instance $outbox
    (alias outer 1 $event (type $event'))
    (export "event" (type $event (eq $event')))
    (export "emit" (func (param "topic" string) (param "event" $event)))))
  (import "weir:plugin/log@0.1.0" (instance $log
    (type $level' (enum "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $level')))
    (export "write" (func (param "level" $level) (param "message" string)))))

  (core module $lib
    (memory (export "memory") 1)
    (global $free (mut i32) (i32.const 8192))
    (func (export "realloc") (param $old i32) (param $old-len i32) (param $align i32) (param $len i32) (result i32)
      (local $at i32)
      (local.set $at
        (i32.and
          (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
          (i32.sub (i32.const 0) (local.get $align))))
      (global.set $free (i32.add (local.get $at) (local.get $len)))
      (block $fits
        (loop $more
          (br_if $fits (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
          (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
          unreachable))
      (local.get $at))
    (func (export "give-back") (param i32)
      (global.set $free (i32.const 8192))))
  (core instance $lib (instantiate $lib))
  (alias core export $lib "memory" (core memory $memory))
  (alias core export $lib "realloc" (core func $realloc))
  (alias core export $lib "give-back" (core func $give-back))

  (core func $now (canon lower (func $context "now")))
  (core func $topic (canon lower (func $context "topic") (memory $memory) (realloc $realloc)))
  (core func $get (canon lower (func $state "get") (memory $memory) (realloc $realloc)))
  (core func $set (canon lower (func $state "set") (memory $memory)))
  (core func $delete (canon lower (func $state "delete") (memory $memory)))
  (core func $increment (canon lower (func $state "increment") (memory $memory)))
  (core func $emit (canon lower (func $outbox "emit") (memory $memory)))
  (core func $write (canon lower (func $log "write") (memory $memory)))
  (core instance $weir
    (export "now" (func $now))
    (export "topic" (func $topic))
    (export "get" (func $get))
    (export "set" (func $set))
    (export "delete" (func $delete))
    (export "increment" (func $increment))
    (export "emit" (func $emit))
    (export "write" (func $write)))

;; PROBE

  (func (export "configure") (param "config" string) (result (result (error string)))
    (canon lift (core func $probe "configure") (memory $memory) (realloc $realloc) (post-return $give-back)))
  (func (export "process") (param "event" $event) (result $verdict)
    (canon lift (core func $probe "process") (memory $memory) (realloc $realloc) (post-return $give-back))))
