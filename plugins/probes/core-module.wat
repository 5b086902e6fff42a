;; A core module: what a compiler makes before it is wrapped into a component.
(module
  (func (export "process") (result i32) (i32.const 0)))
