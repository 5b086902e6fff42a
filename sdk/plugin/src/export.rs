//! From a [`Filter`] to the component's exports.

use std::cell::RefCell;

use crate::{Event, Filter, Migrate, OldEntry, Verdict, log};

/// Makes the component of this crate from a type that implements [`Filter`]. Once per crate.
///
/// Natively it only checks the type, so that the crate's tests compile and run.
///
/// `export!(Rule, migration)` does so for a rule that implements [`Migrate`] as well.
#[macro_export]
macro_rules! export {
    (@filter $rule:ty) => {
        #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "a component's exports"))]
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
    ($rule:ty, migration) => {
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: $crate::Instance<$rule> = const { $crate::Instance::new() };
            }

    $crate::export!(@filter $rule);

            impl $crate::migration_bindings::exports::weir::plugin::migration::Guest for Component {
                fn schema() -> String {
                    <$rule as $crate::Migrate>::SCHEMA.to_owned()
                }

                fn migrate(
                    old_schema: String,
                    key: Vec<u8>,
                    value: Vec<u8>,
                    ttl_ms: Option<u64>,
                ) -> Result<(), String> {
                    let entry = $crate::OldEntry { schema: old_schema, key, value, ttl_ms };
                    INSTANCE.with(|instance| instance.migrate(entry))
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::migration_bindings::export_migration!(Component);
        };
    };
    ($rule:ty) => {
        const _: () = {
            // wasm is single-threaded: this is the instance's one rule.
            ::std::thread_local! {
                static INSTANCE: $crate::Instance<$rule> = const { $crate::Instance::new() };
            }

    $crate::export!(@filter $rule);
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
        crate::configured();
        Ok(())
    }

    pub fn process(&self, event: Event) -> Verdict {
        let mut rule = self.0.borrow_mut();
        rule.as_mut().expect("the broker configures a rule before its first event").process(event)
    }

    pub fn migrate(&self, entry: OldEntry) -> Result<(), String>
    where
        F: Migrate,
    {
        let mut rule = self.0.borrow_mut();
        rule.as_mut().expect("the broker configures a rule before it takes over").migrate(entry)
    }
}
