;; Spins when asked for its schema.
  (core module $module
    (import "lib" "memory" (memory 1))
    (func (export "configure") (param i32 i32) (result i32) (i32.const 4096))
    (func (export "process") (param i32 i32 i32 i32 i32 i32 i32 i64) (result i32) (i32.const 4096))
    (func (export "schema") (result i32)
      (loop $ever (br $ever))
      (i32.const 4096))
    (func (export "migrate") (param i32 i32 i32 i32 i32 i32 i32 i64) (result i32) (i32.const 4096)))
  (core instance $probe (instantiate $module (with "lib" (instance $lib))))
  (func $schema (result string)
    (canon lift (core func $probe "schema") (memory $memory) (realloc $realloc) (post-return $give-back)))
  (func $migrate
    (param "old-schema" string) (param "key" (list u8)) (param "value" (list u8)) (param "ttl-ms" (option u64))
    (result (result (error string)))
    (canon lift (core func $probe "migrate") (memory $memory) (realloc $realloc) (post-return $give-back)))
  (instance $migration (export "schema" (func $schema)) (export "migrate" (func $migrate)))
  (export "weir:plugin/migration@0.1.1" (instance $migration))
