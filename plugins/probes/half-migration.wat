;; Exports `migration` without `migrate`.
  (core module $module
    (import "lib" "memory" (memory 1))
    (func (export "configure") (param i32 i32) (result i32) (i32.const 4096))
    (func (export "process") (param i32 i32 i32 i32 i32 i32 i32 i64) (result i32) (i32.const 4096))
    (func (export "schema") (result i32) (i32.const 4096)))
  (core instance $probe (instantiate $module (with "lib" (instance $lib))))
  (func $schema (result string)
    (canon lift (core func $probe "schema") (memory $memory) (realloc $realloc) (post-return $give-back)))
  (instance $migration (export "schema" (func $schema)))
  (export "weir:plugin/migration@0.1.1" (instance $migration))
