//! From a [`Filter`] to the component's exports.

use std::cell::RefCell;

use crate::{Event, Filter, Verdict, log};

/// Makes the component of this crate from a type that implements [`Filter`]. Once per crate.
///
/// Natively it only checks the type, so that the crate's tests compile and run.
#[macro_export]
macro_rules! export {
    ($rule:ty) => {
        const _: () = {
            // wasm is single-threaded: this is the instance's one rule.
            ::std::thread_local! {
                static INSTANCE: $crate::Instance<$rule> = const { $crate::Instance::new() };
            }

            #[cfg_attr(
                not(target_arch = "wasm32"),
                allow(dead_code, reason = "a component's exports")
            )]
            struct Component;

            impl $crate::bindings::Guest for Component {
                fn configure(config: String) -> Result<(), String> {
                    INSTANCE.with(|instance| instance.configure(&config))
                }

                fn process(event: $crate::Event) -> $crate::Verdict {
                    INSTANCE.with(|instance| instance.process(event))
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::bindings::export_component!(Component);
        };
    };
}

/// What an instance of the component keeps between calls. For `export!` only.
pub struct Instance<F>(RefCell<Option<F>>);

#[allow(missing_docs, clippy::new_without_default, reason = "for the macro, not for people")]
impl<F: Filter> Instance<F> {
    pub const fn new() -> Self {
        Instance(RefCell::new(None))
    }

    pub fn configure(&self, config: &str) -> Result<(), String> {
        // A trap carries no text. The log line is all that tells the author what went wrong.
        std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));
        *self.0.borrow_mut() = Some(F::configure(config)?);
        Ok(())
    }

    pub fn process(&self, event: Event) -> Verdict {
        let mut rule = self.0.borrow_mut();
        rule.as_mut().expect("the broker configures a rule before its first event").process(event)
    }
}
