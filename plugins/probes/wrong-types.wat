;; A component with the right names and other types.
(component
  (core module $module (func (export "run") (result i32) (i32.const 0)))
  (core instance $module (instantiate $module))
  (func (export "configure") (result u32) (canon lift (core func $module "run")))
  (func (export "process") (result u32) (canon lift (core func $module "run"))))
