;; A component of another world: no process, no configure.
(component
  (core module $module (func (export "run") (result i32) (i32.const 0)))
  (core instance $module (instantiate $module))
  (func (export "run") (result u32) (canon lift (core func $module "run"))))
