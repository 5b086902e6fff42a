//! `weir status`: the broker at a glance.

use std::path::Path;

use weir_wire::admin::Status;

use super::Failure;
use super::context;
use super::output::Output;

/// Show the broker at a glance, and what an operator has to act on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  weir status --json")]
pub struct StatusArguments {}

impl StatusArguments {
    /// Does it.
    pub async fn run(self, context: Option<&Path>, output: Output) -> Result<(), Failure> {
        output.answer(&context::admin(context)?.status().await?, described)
    }
}

fn described(status: &Status) -> String {
    let Status { version, topics, partitions, stopped, clock_alarm } = status;
    let mut text = format!("weir {version}: {topics} topics, {partitions} partitions\n");
    for why in stopped {
        text += &format!("stopped  {why}\n");
    }
    if let Some(why) = clock_alarm {
        text += &format!("clock    {why}\n");
    }
    if stopped.is_empty() && clock_alarm.is_none() {
        text += "nothing needs an operator\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn what_needs_an_operator_is_said() {
        let mut status = Status {
            version: "0.1.0".to_owned(),
            topics: 2,
            partitions: 8,
            stopped: Vec::new(),
            clock_alarm: None,
        };
        expect![[r#"
            weir 0.1.0: 2 topics, 8 partitions
            nothing needs an operator
        "#]]
        .assert_eq(&described(&status));
        status.stopped.push("flights/3: storage-broken: a sync failed".to_owned());
        status.clock_alarm = Some("the wall clock was set forward".to_owned());
        expect![[r#"
            weir 0.1.0: 2 topics, 8 partitions
            stopped  flights/3: storage-broken: a sync failed
            clock    the wall clock was set forward
        "#]]
        .assert_eq(&described(&status));
    }
}
