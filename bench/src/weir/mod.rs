//! weir under a load: the release program as a process of its own, spoken to through its own client.

mod subject;
mod publish;
mod expectation;
mod rule;
mod broker;

pub use broker::Broker;
pub use expectation::Refusing;
pub use rule::{Rule, another_version, name};
pub use subject::{Before, Topic, Weir};
